//! The Secret with the gateway's authorities: `current.crt`, `current.key`, `next.crt`, `next.key` for the gateway, which
//! trusts both and signs with the first, and `rotation.json` for this role.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use cofferdam_api::names;

use crate::authorities::{Authorities, Beside, Published, Settings, step};
use crate::certificate::{CertificateError, Pair, authority};

/// Content of a Secret.
pub type Data = BTreeMap<String, ByteString>;

const ROTATION: &str = "rotation.json";
/// Version of [`Rotation`].
const VERSION: u32 = 1;
const NAME: &str = "Cofferdam inspection";

/// A pod lives for its deadlines to start and to run, a day each at most, and for what it is given to end.
pub const SETTINGS: Settings = Settings {
    period: SignedDuration::from_hours(24 * 30),
    longest_run: SignedDuration::from_hours(49),
    settle: SignedDuration::from_hours(1),
};

/// Why the content cannot be kept up.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Another version of this role wrote it.
    #[error(
        "its rotation.json has version {0}, of a newer release: install that release again, or empty the Secret"
    )]
    Newer(u32),
    /// It cannot be written.
    #[error("its rotation.json cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// What this role has to know of the pairs beside them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    version: u32,
    signs_since: Timestamp,
    current: Times,
    beside: Option<BesideTimes>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    /// Of certificate and key: what is not as this role wrote it is not used.
    digest: String,
    published: Timestamp,
    expires: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BesideTimes {
    #[serde(flatten)]
    times: Times,
    /// Absent: it signs next.
    replaced: Option<Timestamp>,
}

/// What the Secret has to hold at `now`; nothing if it does.
///
/// # Errors
/// It cannot be kept up.
pub fn kept_up(data: &Data, now: Timestamp) -> Result<Option<Data>, InspectionError> {
    let mut state = read(data)?;
    let mut changed = false;
    let make = || authority(NAME, now, SETTINGS.lifetime());
    while let Some(after) = step(state.as_ref(), now, &SETTINGS, make)? {
        state = Some(after);
        changed = true;
    }
    match state {
        Some(state) if changed => Ok(Some(write(&state)?)),
        _ => Ok(None),
    }
}

fn read(data: &Data) -> Result<Option<Authorities<Pair>>, InspectionError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let bytes = data.get(ROTATION).map_or(&[][..], |bytes| &bytes.0);
    if let Ok(Version { version }) = serde_json::from_slice(bytes)
        && version > VERSION
    {
        return Err(InspectionError::Newer(version));
    }
    let Ok(rotation) = serde_json::from_slice::<Rotation>(bytes) else {
        return Ok(None);
    };
    let Some(current) = pair(data, "current", &rotation.current) else {
        return Ok(None);
    };
    let beside = rotation.beside.and_then(|BesideTimes { times, replaced }| {
        let authority = pair(data, "next", &times)?;
        Some(match replaced {
            Some(replaced) => Beside::Former { authority, replaced },
            None => Beside::Next(authority),
        })
    });
    Ok(Some(Authorities {
        current,
        signs_since: rotation.signs_since,
        beside,
    }))
}

fn files(name: &str) -> (String, String) {
    (format!("{name}.crt"), format!("{name}.key"))
}

fn pair(data: &Data, name: &str, times: &Times) -> Option<Published<Pair>> {
    let text = |file: &String| String::from_utf8(data.get(file)?.0.clone()).ok();
    let (certificate, key) = files(name);
    let pair = Pair {
        certificate: text(&certificate)?,
        key: text(&key)?,
    };
    (digest(&pair) == times.digest).then_some(Published {
        pair,
        since: times.published,
        expires: times.expires,
    })
}

fn digest(pair: &Pair) -> String {
    names::digest(format!("{}{}", pair.certificate, pair.key).as_bytes())
}

fn write(state: &Authorities<Pair>) -> Result<Data, InspectionError> {
    let times = |published: &Published<Pair>| Times {
        digest: digest(&published.pair),
        published: published.since,
        expires: published.expires,
    };
    let beside = state.beside.as_ref().map(|beside| match beside {
        Beside::Next(next) => (next, None),
        Beside::Former { authority, replaced } => (authority, Some(*replaced)),
    });
    let rotation = Rotation {
        version: VERSION,
        signs_since: state.signs_since,
        current: times(&state.current),
        beside: beside.map(|(authority, replaced)| BesideTimes {
            times: times(authority),
            replaced,
        }),
    };
    let mut data = Data::new();
    data.insert(ROTATION.to_owned(), ByteString(serde_json::to_vec(&rotation)?));
    let both = [
        ("current", Some(&state.current)),
        ("next", beside.map(|(authority, _)| authority)),
    ];
    for (name, published) in both {
        if let Some(Published { pair, .. }) = published {
            let (certificate, key) = files(name);
            data.insert(certificate, ByteString(pair.certificate.clone().into_bytes()));
            data.insert(key, ByteString(pair.key.clone().into_bytes()));
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-26T10:00:00Z".parse().unwrap()
    }

    fn text<'a>(data: &'a Data, file: &str) -> &'a str {
        std::str::from_utf8(&data[file].0).unwrap()
    }

    #[test]
    fn empty_secret_is_filled_and_a_filled_one_left_alone() {
        let data = kept_up(&Data::new(), now()).unwrap().unwrap();
        let files: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(
            files,
            ["current.crt", "current.key", "next.crt", "next.key", ROTATION]
        );
        assert!(text(&data, "current.crt").starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(text(&data, "next.key").starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(kept_up(&data, now()).unwrap(), None);
        assert_eq!(kept_up(&data, now() + SETTINGS.overlap()).unwrap(), None);
    }

    #[test]
    fn next_authority_takes_over_and_the_former_one_stays_for_a_while() {
        let first = kept_up(&Data::new(), now()).unwrap().unwrap();
        let later = now() + SETTINGS.period;
        let second = kept_up(&first, later).unwrap().unwrap();
        for (new, old) in [
            ("current.crt", "next.crt"),
            ("current.key", "next.key"),
            ("next.crt", "current.crt"),
        ] {
            assert_eq!(second[new], first[old]);
        }
        assert_eq!(kept_up(&second, later).unwrap(), None);
        let third = kept_up(&second, later + SETTINGS.settle).unwrap().unwrap();
        assert_eq!(third["current.crt"], second["current.crt"]);
        assert_ne!(third["next.crt"], second["next.crt"]);
    }

    #[test]
    fn what_is_not_as_it_was_written_is_made_anew() {
        let good = kept_up(&Data::new(), now()).unwrap().unwrap();
        let with = |file: &str, value: Option<&str>| {
            let mut data = good.clone();
            match value {
                Some(value) => data.insert(file.to_owned(), ByteString(value.into())),
                None => data.remove(file),
            };
            kept_up(&data, now()).unwrap().unwrap()
        };
        for (file, value) in [("next.key", None), ("next.crt", Some("another"))] {
            let data = with(file, value);
            assert_eq!(data["current.crt"], good["current.crt"], "{file}");
            assert_ne!(data["next.crt"], good["next.crt"], "{file}");
        }
        for (file, value) in [
            ("current.key", None),
            ("current.crt", Some("x")),
            (ROTATION, Some("{}")),
        ] {
            assert_ne!(with(file, value)["current.crt"], good["current.crt"], "{file}");
        }
    }

    #[test]
    fn what_a_newer_release_wrote_is_left_alone() {
        let mut data = kept_up(&Data::new(), now()).unwrap().unwrap();
        data.insert(ROTATION.to_owned(), ByteString(br#"{"version":2}"#.to_vec()));
        assert!(matches!(kept_up(&data, now()), Err(InspectionError::Newer(2))));
    }
}
