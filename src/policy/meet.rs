//! The rule that everything else rests on: absence is never permission.
//!
//! Every governed dimension is asked of every layer. A layer that says nothing of the dimension has no opinion. The
//! value is granted if at least one layer has an opinion and every layer that has one grants it.
//!
//! Modes that are more or less strict ([`strictest`]) and quantities are met by the same rule: the strictest word of
//! any layer holds, and where no layer speaks a built-in value does, which is the strictest that is of use.

use std::sync::Arc;

use super::opinions::Opinions;
use super::source::Met;

/// Why nothing was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial<O> {
    /// No layer has an opinion.
    Silence,
    /// The first layer, in the order given, that refuses.
    Objection(O),
}

/// Meets the words of all layers on one value of one dimension.
///
/// `word` gives a layer's opinion: none, what it grants, or why it refuses. Callers give layers in the canonical
/// order of [`super::layers::Layers`], so that refusals do not depend on the order in which policies were listed.
///
/// # Errors
/// [`Denial`].
pub fn meet<L, G, O>(
    layers: impl IntoIterator<Item = L>,
    word: impl Fn(L) -> Option<Result<G, O>>,
) -> Result<Vec<G>, Denial<O>> {
    let granted = layers
        .into_iter()
        .filter_map(word)
        .collect::<Result<Vec<G>, O>>()
        .map_err(Denial::Objection)?;
    if granted.is_empty() {
        Err(Denial::Silence)
    } else {
        Ok(granted)
    }
}

/// The strictest word that any layer says, with the first layer, in canonical order, that says it; otherwise `silent`.
pub fn strictest<T: Copy, S: Ord>(
    layers: &[Arc<Opinions>],
    rule: &str,
    word: impl Fn(&Opinions) -> Option<T>,
    strictness: impl Fn(T) -> S,
    silent: T,
) -> Met<T> {
    let words = layers
        .iter()
        .filter_map(|layer| Some((&layer.layer, word(layer)?)));
    let met = words.reduce(|best, next| {
        if strictness(next.1) > strictness(best.1) {
            next
        } else {
            best
        }
    });
    met.map_or(Met::built_in(silent), |(layer, value)| {
        Met::by(value, layer, rule)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A dimension that no resource has: it needs no change of the engine, only its own word.
    struct ModelLimits {
        models: Option<Vec<&'static str>>,
    }

    fn decide(layers: &[ModelLimits], model: &str) -> Result<Vec<usize>, Denial<usize>> {
        meet(layers.iter().enumerate(), |(index, layer)| {
            let models = layer.models.as_ref()?;
            Some(if models.contains(&model) {
                Ok(index)
            } else {
                Err(index)
            })
        })
    }

    #[rstest]
    #[case(&[None], Err(Denial::Silence))]
    #[case(&[None, None], Err(Denial::Silence))]
    #[case(&[], Err(Denial::Silence))]
    #[case(&[None, Some(vec!["small"])], Ok(vec![1]))]
    #[case(&[Some(vec!["small", "large"]), Some(vec!["small"])], Ok(vec![0, 1]))]
    #[case(&[Some(vec!["small"]), Some(vec!["large"])], Err(Denial::Objection(1)))]
    #[case(&[Some(vec![]), Some(vec!["small"])], Err(Denial::Objection(0)))]
    fn an_invented_dimension_is_met_like_every_other(
        #[case] models: &[Option<Vec<&'static str>>],
        #[case] decision: Result<Vec<usize>, Denial<usize>>,
    ) {
        let layers: Vec<ModelLimits> = models.iter().map(|m| ModelLimits { models: m.clone() }).collect();
        assert_eq!(decide(&layers, "small"), decision);
    }
}
