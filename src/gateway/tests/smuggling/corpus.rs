//! Requests that two servers read differently: header lines behind the first two, what follows the head, and what the host
//! gets of it.

/// What the host gets.
#[derive(Clone, Copy, Debug)]
pub enum Gets {
    /// No connection.
    Nothing,
    /// One request with this body.
    One(&'static str),
    /// The same, and where requests follow each other the one behind it, judged as well.
    Two(&'static str),
    /// One request that ends before its body does.
    Broken,
}
use Gets::{Broken, Nothing, One, Two};

const SECOND: &str = "GET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n";

/// A name, header lines, what follows the head, and what comes of it.
pub type Case = (&'static str, &'static str, &'static str, Gets);

pub const CORPUS: &[Case] = &[
    // Two lengths.
    (
        "cl_te",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\nG",
        Nothing,
    ),
    (
        "te_cl",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "1\r\na\r\n0\r\n\r\n",
        Nothing,
    ),
    (
        "two_lengths",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "ab",
        Nothing,
    ),
    (
        "same_length_twice",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "a",
        Nothing,
    ),
    ("list_of_lengths", "Content-Length: 1, 1\r\n", "a", Nothing),
    ("signed_length", "Content-Length: +1\r\n", "a", Nothing),
    ("negative_length", "Content-Length: -1\r\n", "a", Nothing),
    ("hexadecimal_length", "Content-Length: 0x1\r\n", "a", Nothing),
    ("length_with_a_space", "Content-Length: 1 1\r\n", "a", Nothing),
    ("no_length", "Content-Length: \r\n", "a", Nothing),
    (
        "long_length",
        "Content-Length: 18446744073709551617\r\n",
        "a",
        Nothing,
    ),
    ("length_with_zeros", "Content-Length: 0001\r\n", "a", One("a")),
    // Codings that one side knows and the other does not.
    ("te_identity", "Transfer-Encoding: identity\r\n", "a", Nothing),
    (
        "te_list",
        "Transfer-Encoding: chunked, identity\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_gzip",
        "Transfer-Encoding: gzip, chunked\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_twice",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_two_kinds",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_misspelt",
        "Transfer-Encoding: xchunked\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_quoted",
        "Transfer-Encoding: \"chunked\"\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_vertical_tab",
        "Transfer-Encoding: \x0bchunked\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "te_capitals",
        "Transfer-Encoding: CHUNKED\r\n",
        "1\r\na\r\n0\r\n\r\n",
        One("a"),
    ),
    (
        "te_tab",
        "Transfer-Encoding:\tchunked\r\n",
        "1\r\na\r\n0\r\n\r\n",
        One("a"),
    ),
    (
        "space_before_the_colon",
        "Transfer-Encoding : chunked\r\n",
        "0\r\n\r\n",
        Nothing,
    ),
    (
        "underscore",
        "Transfer_Encoding: chunked\r\nContent-Length: 1\r\n",
        "a",
        One("a"),
    ),
    (
        "named_by_connection",
        "Connection: content-length\r\nContent-Length: 1\r\n",
        "a",
        One("a"),
    ),
    (
        "coding_named_by_connection",
        "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
        "1\r\na\r\n0\r\n\r\n",
        One("a"),
    ),
    ("host_named_by_connection", "Connection: host\r\n", "", One("")),
    // Lines.
    ("bare_line_feed", "X: y\nContent-Length: 1\r\n", "a", Nothing),
    (
        "bare_carriage_return",
        "X: y\rContent-Length: 1\r\n",
        "a",
        Nothing,
    ),
    ("folded", "X: y\r\n Content-Length: 1\r\n", "a", Nothing),
    ("folded_length", "Content-Length:\r\n 1\r\n", "a", Nothing),
    ("null", "X: a\0b\r\n", "", Nothing),
    ("no_colon", "X\r\n", "", Nothing),
    ("no_name", ": x\r\n", "", Nothing),
    ("space_in_a_name", "X Y: z\r\n", "", Nothing),
    ("space_before_a_name", " X: y\r\n", "", Nothing),
    // Hosts and other ways to mean another request.
    ("second_host", "Host: denied.internet.test\r\n", "", Nothing),
    (
        "upgrade",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "",
        Nothing,
    ),
    ("expect", "Expect: 200-ok\r\nContent-Length: 1\r\n", "a", Nothing),
    ("expect_obfuscated", "Expect: y 100-continue\r\n", "", Nothing),
    (
        "trailer",
        "Transfer-Encoding: chunked\r\nTrailer: Host\r\n",
        "0\r\nHost: x\r\n\r\n",
        Nothing,
    ),
    (
        "override_method",
        "X-HTTP-Method-Override: DELETE\r\n",
        "",
        One(""),
    ),
    ("original_url", "X-Original-URL: /admin\r\n", "", One("")),
    // Bodies.
    ("body_without_length", "", SECOND, Two("")),
    (
        "body_behind_its_length",
        "Content-Length: 1\r\n",
        "aGET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
        Two("a"),
    ),
    (
        "behind_the_last_chunk",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\nGET /repos/org/second HTTP/1.1\r\nHost: allowed.internet.test\r\n\r\n",
        One(""),
    ),
    (
        "unannounced_trailer",
        "Transfer-Encoding: chunked\r\n",
        "1\r\na\r\n0\r\nHost: x\r\n\r\n",
        One("a"),
    ),
    (
        "chunk_extension",
        "Transfer-Encoding: chunked\r\n",
        "1;a=b\r\na\r\n0\r\n\r\n",
        One("a"),
    ),
    (
        "chunk_extension_with_a_line_feed",
        "Transfer-Encoding: chunked\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_size_overflows",
        "Transfer-Encoding: chunked\r\n",
        "10000000000000001\r\na\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_size_signed",
        "Transfer-Encoding: chunked\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_size_hexadecimal",
        "Transfer-Encoding: chunked\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_size_missing",
        "Transfer-Encoding: chunked\r\n",
        "\r\na\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_without_its_end",
        "Transfer-Encoding: chunked\r\n",
        "1\r\naX\r\n0\r\n\r\n",
        Broken,
    ),
    (
        "chunk_ended_by_a_line_feed",
        "Transfer-Encoding: chunked\r\n",
        "1\r\na\n0\r\n\r\n",
        Broken,
    ),
];
