//! The first bytes inside a tunnel: a TLS client hello that names the host that was asked for, or nothing.
//!
//! What is not understood is refused: two parsers that read one hello differently would be a way past the policy.

use std::collections::HashSet;

use cofferdam_wire::denial::DenialCode;
use tls_parser::{
    SNIType, TlsExtension, TlsExtensionType, TlsMessage, TlsMessageHandshake,
    parse_tls_client_hello_extension, parse_tls_message_handshake,
};

/// Bytes in which a whole hello must have come; post-quantum key shares make hellos of about 2 KiB.
pub const HELLO_LIMIT: usize = 16 * 1024;
const RECORD_HEADER: usize = 5;
/// Longest plain record (RFC 8446, section 5.1).
const RECORD_LIMIT: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Encrypted client hello (RFC 9849), its inner compression marker, and the earlier draft's encrypted server name.
const HIDING_EXTENSIONS: [u16; 3] = [0xfe0d, 0xfd00, 0xffce];

/// Why the first bytes do not open the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else than TLS.
    #[error("the tunnel does not start with a TLS ClientHello")]
    NotTls,
    /// TLS, but not well-formed, or longer than [`HELLO_LIMIT`].
    #[error("the TLS ClientHello is malformed or too long")]
    Malformed,
    /// No server name.
    #[error("the TLS ClientHello names no server")]
    SniMissing,
    /// Another server's name.
    #[error("the TLS ClientHello names another server than CONNECT did")]
    SniMismatch,
    /// The true server name may be hidden.
    #[error("the TLS ClientHello is, or pretends to be, encrypted (ECH)")]
    EchRefused,
}

impl HelloError {
    /// Short code of the refusal.
    pub const fn code(self) -> DenialCode {
        match self {
            Self::NotTls => DenialCode::NotTls,
            Self::Malformed => DenialCode::HelloMalformed,
            Self::SniMissing => DenialCode::SniMissing,
            Self::SniMismatch => DenialCode::SniMismatch,
            Self::EchRefused => DenialCode::EchRefused,
        }
    }
}

/// What an encrypted hello within the hello means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// The true name may be another one, and nobody here could see it.
    Refused,
    /// The TLS ends here, so that there is no other.
    Harmless,
}

/// Judges the bytes that came so far: `Ok(true)` once they hold a whole hello for `host` (lower case),
/// `Ok(false)` while more must come.
///
/// # Errors
/// As soon as it is certain that the tunnel must not open.
pub fn judge(received: &[u8], host: &str, hidden: Hidden) -> Result<bool, HelloError> {
    let Some(message) = reassemble(received)? else {
        return Ok(false);
    };
    let (rest, parsed) = parse_tls_message_handshake(&message).map_err(|_| HelloError::Malformed)?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
        return Err(HelloError::NotTls);
    };
    if !rest.is_empty() {
        return Err(HelloError::Malformed);
    }
    judge_extensions(hello.ext.unwrap_or_default(), host, hidden).map(|()| true)
}

/// The one handshake message, put together from its records; `None` while it is not complete.
fn reassemble(received: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let mut message = Vec::new();
    let mut rest = received;
    loop {
        if !starts_like_a_record(rest) {
            // Only the very first bytes tell another protocol from bad TLS.
            return Err(if message.is_empty() {
                HelloError::NotTls
            } else {
                HelloError::Malformed
            });
        }
        let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<RECORD_HEADER>() else {
            return incomplete(received);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_LIMIT {
            return Err(HelloError::Malformed);
        }
        let taken = body.get(..length).unwrap_or(body);
        message.extend_from_slice(taken);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::NotTls);
        }
        if let Some(whole) = whole_message(&message)? {
            // A hello that ends within a record shares it with nothing else.
            return if taken.len() == length && whole == message.len() {
                Ok(Some(message))
            } else if whole < message.len() || taken.len() == length {
                Err(HelloError::Malformed)
            } else {
                incomplete(received)
            };
        }
        if taken.len() < length {
            return incomplete(received);
        }
        rest = body.get(length..).unwrap_or_default();
    }
}

fn incomplete(received: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    if received.len() >= HELLO_LIMIT {
        return Err(HelloError::Malformed);
    }
    Ok(None)
}

/// Content type handshake and a version 3.x, as far as the bytes go.
fn starts_like_a_record(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|kind| *kind == HANDSHAKE) && bytes.get(1).is_none_or(|major| *major == 3)
}

/// Length of the whole message with its header, once all of it is there.
fn whole_message(message: &[u8]) -> Result<Option<usize>, HelloError> {
    let Some(&[_, a, b, c]) = message.first_chunk::<4>() else {
        return Ok(None);
    };
    let whole = 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
    if whole > HELLO_LIMIT {
        return Err(HelloError::Malformed);
    }
    Ok((message.len() >= whole).then_some(whole))
}

fn judge_extensions(bytes: &[u8], host: &str, hidden: Hidden) -> Result<(), HelloError> {
    let mut seen = HashSet::new();
    let mut named = false;
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((&[a, b, c, d], body)) = rest.split_first_chunk::<4>() else {
            return Err(HelloError::Malformed);
        };
        let (kind, length) = (
            u16::from_be_bytes([a, b]),
            usize::from(u16::from_be_bytes([c, d])),
        );
        if !seen.insert(kind) || body.len() < length {
            return Err(HelloError::Malformed);
        }
        if hidden == Hidden::Refused && HIDING_EXTENSIONS.contains(&kind) {
            return Err(HelloError::EchRefused);
        }
        let (extension, after) = rest.split_at(4 + length);
        if TlsExtensionType(kind) == TlsExtensionType::ServerName {
            judge_name(extension, host)?;
            named = true;
        }
        rest = after;
    }
    if named {
        Ok(())
    } else {
        Err(HelloError::SniMissing)
    }
}

/// The extension must hold exactly one name, of the type host name, equal to `host`.
fn judge_name(extension: &[u8], host: &str) -> Result<(), HelloError> {
    let (rest, parsed) = parse_tls_client_hello_extension(extension).map_err(|_| HelloError::Malformed)?;
    let TlsExtension::SNI(names) = parsed else {
        return Err(HelloError::Malformed);
    };
    let [(SNIType::HostName, name)] = names.as_slice() else {
        return Err(if names.is_empty() {
            HelloError::SniMissing
        } else {
            HelloError::Malformed
        });
    };
    // List length, name type, name length, name: bytes that the parser skipped would be someone else's name.
    if !rest.is_empty() || extension.len() != 4 + 2 + 1 + 2 + name.len() {
        return Err(HelloError::Malformed);
    }
    if name.eq_ignore_ascii_case(host.as_bytes()) {
        Ok(())
    } else {
        Err(HelloError::SniMismatch)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Hellos of a real TLS client, and hand-made ones.

    use std::sync::Arc;

    /// The first bytes that rustls sends to `name`.
    pub(crate) fn real_hello(name: &str, with_name: bool) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.enable_sni = with_name;
        let name = name.to_owned().try_into().unwrap();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// One hello in one record with these extensions.
    pub(crate) fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (kind, data) in extensions {
            block.extend_from_slice(&kind.to_be_bytes());
            block.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            block.extend_from_slice(data);
        }
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&block);
        let mut message = vec![1];
        message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend_from_slice(&body);
        records(&message, message.len())
    }

    /// The data of a server name extension with these names.
    pub(crate) fn names(names: &[(u8, &str)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, name) in names {
            list.push(*kind);
            list.extend_from_slice(&u16::try_from(name.len()).unwrap().to_be_bytes());
            list.extend_from_slice(name.as_bytes());
        }
        let mut data = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
        data.extend_from_slice(&list);
        data
    }

    /// A handshake message in records of at most `size` bytes.
    pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
        message
            .chunks(size)
            .flat_map(|part| {
                let mut record = vec![22, 3, 1];
                record.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
                record.extend_from_slice(part);
                record
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use proptest::prelude::*;

    const HOST: &str = "allowed.internet.test";

    fn judged(received: &[u8], host: &str) -> Result<bool, HelloError> {
        judge(received, host, Hidden::Refused)
    }

    fn sni(name: &str) -> (u16, Vec<u8>) {
        (0, names(&[(0, name)]))
    }

    #[test]
    fn a_real_clients_hello_opens_the_tunnel_whole_and_never_in_part() {
        let bytes = real_hello(HOST, true);
        assert_eq!(judged(&bytes, HOST), Ok(true));
        for cut in 0..bytes.len() {
            assert_eq!(judged(&bytes[..cut], HOST), Ok(false), "{cut}");
        }
    }

    #[test]
    fn a_hello_may_come_in_many_records() {
        let whole = real_hello(HOST, true);
        for size in [1, 2, 3, 5, 64] {
            let bytes = records(&whole[RECORD_HEADER..], size);
            assert_eq!(judged(&bytes, HOST), Ok(true), "{size}");
            let other = records(&real_hello("denied.internet.test", true)[RECORD_HEADER..], size);
            assert_eq!(judged(&other, HOST), Err(HelloError::SniMismatch), "{size}");
        }
    }

    #[test]
    fn what_follows_the_hello_in_records_of_its_own_is_early_data() {
        let mut bytes = real_hello(HOST, true);
        bytes.extend_from_slice(&[23, 3, 3, 0, 1, 9]);
        assert_eq!(judged(&bytes, HOST), Ok(true));
    }

    #[test]
    fn names_must_be_one_and_the_right_one() {
        assert_eq!(judged(&hello(&[sni("ALLOWED.internet.TEST")]), HOST), Ok(true));
        let long = "a".repeat(300);
        let cases = [
            (real_hello(HOST, false), HelloError::SniMissing),
            (hello(&[]), HelloError::SniMissing),
            (hello(&[(0, names(&[]))]), HelloError::SniMissing),
            (hello(&[sni("denied.internet.test")]), HelloError::SniMismatch),
            (hello(&[sni("allowed.internet.test.")]), HelloError::SniMismatch),
            (
                hello(&[sni("allowed.internet.test\0.evil")]),
                HelloError::SniMismatch,
            ),
            (hello(&[sni("")]), HelloError::SniMismatch),
            (hello(&[sni(&long)]), HelloError::SniMismatch),
            (
                hello(&[(0, names(&[(0, HOST), (0, "evil.test")]))]),
                HelloError::Malformed,
            ),
            (hello(&[(0, names(&[(1, HOST)]))]), HelloError::Malformed),
            (hello(&[sni(HOST), sni("evil.test")]), HelloError::Malformed),
            (hello(&[sni(HOST), sni(HOST)]), HelloError::Malformed),
        ];
        for (bytes, expected) in cases {
            assert_eq!(judged(&bytes, HOST), Err(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn bytes_behind_the_list_of_names_are_refused() {
        let mut data = names(&[(0, HOST)]);
        data.extend_from_slice(&names(&[(0, "evil.test")]));
        assert!(judged(&hello(&[(0, data)]), HOST).is_err());
    }

    #[test]
    fn encrypted_hellos_are_refused_wherever_they_stand_and_greased_ones_too() {
        for kind in HIDING_EXTENSIONS {
            let grease = (kind, vec![0, 0, 1, 0, 1, 42, 0, 0, 0, 0]);
            assert_eq!(
                judged(&hello(&[sni(HOST), grease.clone()]), HOST),
                Err(HelloError::EchRefused)
            );
            assert_eq!(
                judged(&hello(&[grease.clone(), sni(HOST)]), HOST),
                Err(HelloError::EchRefused)
            );
            // Where the TLS ends here nothing is hidden behind it.
            let harmless = |bytes: &[u8]| judge(bytes, HOST, Hidden::Harmless);
            assert_eq!(harmless(&hello(&[sni(HOST), grease.clone()])), Ok(true));
            let other = hello(&[grease, sni("other.test")]);
            assert_eq!(harmless(&other), Err(HelloError::SniMismatch));
        }
        // The control: an ordinary unknown extension passes.
        assert_eq!(judged(&hello(&[sni(HOST), (0x0a0a, vec![])]), HOST), Ok(true));
    }

    #[test]
    fn other_protocols_are_told_at_their_first_bytes() {
        let hellos: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\n",
            b"SSH-2.0-x\r\n",
            b"\x80\x2e\x01\x03\x01",
            b"\x16\x02\x00",
            b"\x17\x03\x03",
            b"\x15\x03\x03\x00\x02\x02\x31",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        ];
        for bytes in hellos {
            assert_eq!(judged(bytes, HOST), Err(HelloError::NotTls), "{bytes:02x?}");
        }
    }

    #[test]
    fn hellos_end_somewhere() {
        let empty_record = [22, 3, 1, 0, 0];
        assert_eq!(judged(&empty_record, HOST), Err(HelloError::Malformed));
        assert_eq!(
            judged(&[22, 3, 1, 0, 4, 1, 0xff, 0, 0], HOST),
            Err(HelloError::Malformed)
        );
        let mut two = hello(&[sni(HOST)]);
        let message = two.split_off(RECORD_HEADER);
        let doubled = [message.clone(), message.clone()].concat();
        assert_eq!(
            judged(&records(&doubled, doubled.len()), HOST),
            Err(HelloError::Malformed)
        );
        // The second message starts in the record in which the first one ends.
        assert_eq!(
            judged(&records(&doubled, message.len() + 1), HOST),
            Err(HelloError::Malformed)
        );
        // Three more bytes of overhead each: a hello in records of one byte passes the limit before its end.
        let padded = hello(&[sni(HOST), (21, vec![0; 12_000])]);
        assert_eq!(judged(&padded, HOST), Ok(true));
        let thin = records(&padded[RECORD_HEADER..], 1);
        assert_eq!(judged(&thin[..HELLO_LIMIT], HOST), Err(HelloError::Malformed));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_only_the_host_opens(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), tls in any::<bool>()) {
            if tls {
                bytes.splice(0..0, [22, 3, 1]);
            }
            prop_assert_ne!(judged(&bytes, HOST), Ok(true));
        }

        #[test]
        fn a_changed_hello_never_opens_for_another_name(position in 0usize..2000, value in any::<u8>()) {
            let mut bytes = real_hello(HOST, true);
            let position = position % bytes.len();
            bytes[position] = value;
            prop_assert_ne!(judged(&bytes, "denied.internet.test"), Ok(true));
        }

        #[test]
        fn cutting_into_records_changes_nothing(size in 1usize..600) {
            let message = real_hello(HOST, true).split_off(RECORD_HEADER);
            prop_assert_eq!(judged(&records(&message, size), HOST), Ok(true));
        }
    }
}
