//! The second lock: whether RBAC lets this user read this part of this run.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::front::caller::User;
use crate::path::Part;
use crate::status::Failure;
use cofferdam_wire::output_api::{GROUP, VERSION};

/// Asks the API server.
pub struct Access {
    reviews: Api<SubjectAccessReview>,
}

impl Access {
    /// Asks by `client`, which may create `SubjectAccessReviews`.
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
        }
    }

    /// Lets nobody pass whom the API server would not.
    ///
    /// # Errors
    /// The user may not, or nobody can be asked.
    pub async fn check(&self, user: &User, namespace: &str, run: &str, part: Part) -> Result<(), Failure> {
        if self.is_allowed(&review(user, Some(namespace), run, part)).await? {
            return Ok(());
        }
        let (name, part) = (&user.name, part.name());
        Err(Failure::forbidden(format!(
            "agentruns.{GROUP} \"{run}\" is forbidden: User \"{name}\" cannot get resource \"agentruns/{part}\" in API group \
             \"{GROUP}\" in the namespace \"{namespace}\""
        )))
    }

    /// Whether the user may read this part of the runs of this name in every namespace, whoever's that is or was.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub async fn is_everywhere(&self, user: &User, run: &str, part: Part) -> Result<bool, Failure> {
        self.is_allowed(&review(user, None, run, part)).await
    }

    async fn is_allowed(&self, review: &SubjectAccessReview) -> Result<bool, Failure> {
        let answer = self.reviews.create(&PostParams::default(), review).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "the API server gave no answer about a user's rights");
            Failure::unavailable("the API server does not say what you may read; try again")
        })?;
        let status = answer.status;
        Ok(status.is_some_and(|status| status.allowed && !status.denied.unwrap_or_default()))
    }
}

/// Without a namespace the question is about all of them.
fn review(user: &User, namespace: Option<&str>, run: &str, part: Part) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                namespace: namespace.map(str::to_owned),
                verb: Some("get".to_owned()),
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                resource: Some("agentruns".to_owned()),
                subresource: Some(part.name().to_owned()),
                name: Some(run.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_asked_is_who_asks_for_what() {
        let user = User {
            name: "anna".to_owned(),
            uid: Some("u1".to_owned()),
            groups: vec!["team".to_owned()],
            extra: BTreeMap::from([("scopes".to_owned(), vec!["a".to_owned()])]),
        };
        let everywhere = review(&user, None, "fix", Part::Patch).spec.resource_attributes;
        assert_eq!(everywhere.unwrap().namespace, None);
        insta::assert_json_snapshot!(review(&user, Some("team-a"), "fix", Part::Patch).spec);
    }
}
