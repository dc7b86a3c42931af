use super::*;
use rstest::rstest;

/// What git says, in the words of several versions and of both TLS libraries.
#[rstest]
#[case::asks_for_a_name_2_39(
    "error: unable to read askpass response from '/bin/false'\n\
     fatal: could not read Username for 'https://git.example.com': terminal prompts disabled\n",
    Cause::Denied(Some(401))
)]
#[case::asks_for_a_name_2_25(
    "fatal: could not read Username for 'https://github.com': No such device or address\n",
    Cause::Denied(Some(401))
)]
#[case::wrong_password(
    "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://gitlab.example.com/a/b.git/'\n",
    Cause::Denied(Some(401))
)]
#[case::forbidden_2_39(
    "fatal: unable to access 'https://github.com/a/b.git/': The requested URL returned error: 403\n",
    Cause::Denied(Some(403))
)]
#[case::forbidden_with_a_reason(
    "remote: Your account is suspended.\n\
     fatal: unable to access 'https://github.com/a/b.git/': The requested URL returned error: 403 Forbidden\n",
    Cause::Denied(Some(403))
)]
#[case::not_found(
    "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found\n",
    Cause::Denied(Some(404))
)]
#[case::gone(
    "fatal: unable to access 'https://git.example.com/x/': The requested URL returned error: 410\n",
    Cause::Denied(Some(410))
)]
#[case::absent_directory(
    "fatal: '/srv/absent' does not appear to be a git repository\nfatal: Could not read from remote repository.\n\n\
     Please make sure you have the correct access rights\nand the repository exists.\n",
    Cause::Denied(None)
)]
#[case::daemon(
    "fatal: remote error: access denied or repository not exported: /x\n",
    Cause::Denied(None)
)]
#[case::moved_for_ever(
    "fatal: unable to access 'https://gitlab.example.com/a/b/': The requested URL returned error: 301\n",
    Cause::Moved(301)
)]
#[case::moved_for_now(
    "fatal: unable to access 'https://x/': The requested URL returned error: 302\n",
    Cause::Moved(302)
)]
#[case::moved_permanently(
    "fatal: unable to access 'https://x/': The requested URL returned error: 308\n",
    Cause::Moved(308)
)]
#[case::bad_request(
    "fatal: unable to access 'https://x/': The requested URL returned error: 400\n",
    Cause::Rejected(400)
)]
#[case::too_large(
    "error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413\nfatal: the remote end hung up unexpectedly\n",
    Cause::Rejected(413)
)]
#[case::too_many(
    "fatal: unable to access 'https://x/': The requested URL returned error: 429\n",
    Cause::Unavailable(429)
)]
#[case::unavailable(
    "fatal: unable to access 'https://x/': The requested URL returned error: 503\n",
    Cause::Unavailable(503)
)]
#[case::gateway_time_out(
    "error: RPC failed; HTTP 504 curl 22 The requested URL returned error: 504 Gateway Time-out\n\
     fatal: The remote end hung up unexpectedly\n",
    Cause::Unavailable(504)
)]
#[case::of_the_oldest(
    "error: RPC failed; result=22, HTTP code = 502\nfatal: The remote end hung up unexpectedly\n",
    Cause::Unavailable(502)
)]
#[case::tunnel_curl_7(
    "fatal: unable to access 'https://x/': Received HTTP code 403 from proxy after CONNECT\n",
    Cause::NoTunnel(403)
)]
#[case::tunnel_curl_8(
    "fatal: unable to access 'https://x/': CONNECT tunnel failed, response 502\n",
    Cause::NoTunnel(502)
)]
#[case::a_page_to_log_in(
    "fatal: https://x/info/refs not valid: is this a git repository?\n",
    Cause::NotGit
)]
#[case::a_server_of_something_else(
    "fatal: invalid server response; expected service, got flush packet\n",
    Cause::NotGit
)]
#[case::gnutls(
    "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none CRLfile: none\n",
    Cause::Untrusted
)]
#[case::openssl(
    "fatal: unable to access 'https://x/': SSL certificate problem: unable to get local issuer certificate\n",
    Cause::Untrusted
)]
#[case::openssl_1_0(
    "error: SSL certificate problem, verify that the CA cert is OK. Details:\n\
     error:14090086:SSL routines:SSL3_GET_SERVER_CERTIFICATE:certificate verify failed while accessing https://x/\n\
     fatal: HTTP request failed\n",
    Cause::Untrusted
)]
#[case::another_host(
    "fatal: unable to access 'https://x/': SSL: no alternative certificate subject name matches target host name 'x'\n",
    Cause::Untrusted
)]
#[case::sha256_2_29(
    "fatal: mismatched algorithms: client sha1; server sha256\n",
    Cause::ObjectFormat
)]
#[case::sha256_of_the_server("fatal: the server does not support algorithm 'sha1'\n", Cause::ObjectFormat)]
#[case::no_such_commit_v2(
    "fatal: remote error: upload-pack: not our ref 1234567890123456789012345678901234567890\n",
    Cause::NoCommit
)]
#[case::no_such_commit_v0(
    "error: Server does not allow request for unadvertised object 1234567890123456789012345678901234567890\n",
    Cause::NoCommit
)]
#[case::damaged(
    "error: git upload-pack: git-pack-objects died with error.\nfatal: protocol error: bad pack header\n\
     fatal: git upload-pack: aborting due to possible repository corruption on the remote side.\n\
     remote: fatal: empty filename in tree entry\n",
    Cause::Damaged
)]
#[case::full(
    "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output\n",
    Cause::NoSpace
)]
#[case::protocol("fatal: transport 'file' not allowed\n", Cause::Protocol)]
#[case::slow(
    "error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec transferred the last 30 seconds\n\
     fatal: protocol error: bad pack header\n",
    Cause::Broken
)]
#[case::cut_http_2(
    "error: RPC failed; curl 92 HTTP/2 stream 0 was not closed cleanly: CANCEL (err 8)\n\
     error: 8069 bytes of body are still expected\nfetch-pack: unexpected disconnect while reading sideband packet\n\
     fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n",
    Cause::Broken
)]
#[case::cut_gnutls(
    "error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull function.\n\
     fatal: The remote end hung up unexpectedly\nfatal: early EOF\nfatal: index-pack failed\n",
    Cause::Broken
)]
#[case::nobody(
    "fatal: unable to access 'https://x/': Failed to connect to 10.10.78.62 port 3128: Connection timed out\n",
    Cause::Broken
)]
#[case::silence("", Cause::Broken)]
fn causes_are_read_from_gits_words(#[case] stderr: &str, #[case] cause: Cause) {
    assert_eq!(Cause::read(stderr.as_bytes()), cause);
}

#[rstest]
#[case::index_pack_2_39(
    "error: object 554cdb76be9e2d70740ea974b2c2e140035f8c0d: missingNameBeforeEmail: invalid author/committer line - \
     missing space before email\nfatal: fsck error in packed object\nfatal: index-pack failed\n",
    "554cdb76be9e2d70740ea974b2c2e140035f8c0d",
    "missingNameBeforeEmail"
)]
#[case::fetch_pack_2_45(
    "error: object d5a6d097da1c67e07b3fb073f22217c7462f5088: badTimezone: invalid author/committer line - bad time zone\n\
     fatal: fsck error in packed object\nfatal: fetch-pack: invalid index-pack output\n",
    "d5a6d097da1c67e07b3fb073f22217c7462f5088",
    "badTimezone"
)]
#[case::unpack_objects_2_8(
    "error: object 9505c02d2ec140af9339208b28d1e90eab885731: badTimezone: invalid author/committer line - bad time zone\n\
     fatal: Error in object\nfatal: unpack-objects failed\n",
    "9505c02d2ec140af9339208b28d1e90eab885731",
    "badTimezone"
)]
#[case::before_checks_had_names(
    "error: object 087fbb748f50af6eac2248a445d25d666cc92c78:contains zero-padded file modes\nfatal: Error in object\n",
    "087fbb748f50af6eac2248a445d25d666cc92c78",
    ""
)]
#[case::submodules(
    "error: object 1111111111111111111111111111111111111111: gitmodulesUrl: disallowed submodule url: -oops\n\
     fatal: fsck error in pack objects\n",
    "1111111111111111111111111111111111111111",
    "gitmodulesUrl"
)]
fn a_fault_is_read_with_its_object_and_its_check(
    #[case] stderr: &str,
    #[case] object: &str,
    #[case] check: &str,
) {
    let Cause::Fault(fault) = Cause::read(stderr.as_bytes()) else {
        panic!("no fault: {stderr}");
    };
    assert_eq!((fault.object.as_str(), fault.check.as_str()), (object, check));
    assert!(!Cause::Fault(fault.clone()).passes());
    let shown = fault.to_string();
    assert!(shown.contains(object) && shown.contains(check), "{shown}");
}

#[test]
fn only_what_may_pass_is_asked_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        assert!(Cause::of_status(status).passes(), "{status}");
    }
    for status in [
        301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 407, 410, 413, 451,
    ] {
        assert!(!Cause::of_status(status).passes(), "{status}");
    }
    assert!(Cause::NoTunnel(502).passes() && Cause::NoTunnel(403).passes());
    assert!(Cause::Broken.passes() && !Cause::NotGit.passes());
}

/// A branch or a server's text that repeats git's words is a word in a line of another kind, and no cause of its own.
#[test]
fn a_line_is_a_fault_only_in_gits_own_form() {
    for line in [
        "remote: error: object 554cdb76be9e2d70740ea974b2c2e140035f8c0d: badEmail: x",
        "error: object short: badEmail: x",
        "error: object",
        "warning: object 554cdb76be9e2d70740ea974b2c2e140035f8c0d: badEmail: x",
    ] {
        assert!(Fault::read(line, "error: ").is_none(), "{line}");
    }
}
