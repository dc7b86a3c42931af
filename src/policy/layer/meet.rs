//! The rule that everything else rests on: absence is never permission.
//!
//! Every governed dimension is asked of every layer. A layer that says nothing of the dimension has no opinion. The
//! value is granted if at least one layer has an opinion and every layer that has one grants it.
//!
//! Modes that are more or less strict ([`super::parsed::strictest`]) and quantities are met by the same rule: the
//! strictest opinion of any layer holds, and where no layer has one a built-in value does, which is the strictest that
//! is of use.

/// Why nothing is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmet<R> {
    /// No layer has an opinion.
    NoOpinion,
    /// The refusal of the first layer, in the order given, that refuses.
    Refused(R),
}

/// Meets the opinions of all layers on one value of one dimension.
///
/// `opinion` gives a layer's opinion: none, what it grants, or why it refuses. Callers give layers in the canonical
/// order of [`crate::layer::layers::Layers`], so that refusals do not depend on the order in which policies were listed.
///
/// # Errors
/// [`Unmet`].
pub(crate) fn meet<L, G, R>(
    layers: impl IntoIterator<Item = L>,
    opinion: impl Fn(L) -> Option<Result<G, R>>,
) -> Result<Vec<G>, Unmet<R>> {
    let granted = layers
        .into_iter()
        .filter_map(opinion)
        .collect::<Result<Vec<G>, R>>()
        .map_err(Unmet::Refused)?;
    if granted.is_empty() {
        Err(Unmet::NoOpinion)
    } else {
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A dimension that no resource has: it needs no change of the engine, only its own opinions.
    struct ModelLimits {
        models: Option<Vec<&'static str>>,
    }

    fn decide(layers: &[ModelLimits], model: &str) -> Result<Vec<usize>, Unmet<usize>> {
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
    #[case(&[None], Err(Unmet::NoOpinion))]
    #[case(&[None, None], Err(Unmet::NoOpinion))]
    #[case(&[], Err(Unmet::NoOpinion))]
    #[case(&[None, Some(vec!["small"])], Ok(vec![1]))]
    #[case(&[Some(vec!["small", "large"]), Some(vec!["small"])], Ok(vec![0, 1]))]
    #[case(&[Some(vec!["small"]), Some(vec!["large"])], Err(Unmet::Refused(1)))]
    #[case(&[Some(vec![]), Some(vec!["small"])], Err(Unmet::Refused(0)))]
    fn invented_dimension(
        #[case] models: &[Option<Vec<&'static str>>],
        #[case] decision: Result<Vec<usize>, Unmet<usize>>,
    ) {
        let layers: Vec<ModelLimits> = models.iter().map(|m| ModelLimits { models: m.clone() }).collect();
        assert_eq!(decide(&layers, "small"), decision);
    }
}
