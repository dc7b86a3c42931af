use std::sync::mpsc::Receiver;
use std::time::Duration;

use rstest::rstest;

use self::forge::{Manner, repository, serve};
use super::*;
use crate::testing::sh;

mod forge;

fn transport(protocols: &'static str) -> Transport {
    Transport {
        proxy: None,
        certificates: None,
        protocols,
    }
}

fn cloned(url: &str, reference: Option<&str>, pristine: &Path) -> Result<Cloned, CloneError> {
    let deadline = Deadline::after(Duration::from_mins(1));
    clone(
        url,
        reference,
        &CloneOptions::default(),
        pristine,
        &transport("file:http"),
        &deadline,
    )
}

/// A repository below a directory, reached by its files.
struct Local {
    directory: tempfile::TempDir,
}

impl Local {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        sh(
            directory.path(),
            &format!("git init -q -b main r; cd r; echo x >a; git add .; git commit -qm base; {script}"),
        );
        Self { directory }
    }

    fn url(&self) -> String {
        format!("file://{}/r", self.directory.path().display())
    }

    fn pristine(&self) -> std::path::PathBuf {
        self.directory.path().join("p.git")
    }

    fn clone(&self, reference: Option<&str>) -> Result<Cloned, CloneError> {
        cloned(&self.url(), reference, &self.pristine())
    }

    fn id(&self, of: &str) -> String {
        let id = sh(self.directory.path(), &format!("cd r; git rev-parse '{of}'"));
        id.trim().to_owned()
    }
}

/// What `manner` makes of a clone of a repository with one commit, and how often it was asked.
fn over_http(manner: Manner, path: &str) -> (Result<Cloned, CloneError>, Vec<String>) {
    let (directory, root) = repository("app.git", "");
    let (address, asked): (_, Receiver<String>) = serve(&root, manner);
    let result = cloned(
        &format!("http://{address}/{path}"),
        None,
        &directory.path().join("p.git"),
    );
    (result, asked.try_iter().collect())
}

const HISTORY: &str =
    "git tag -am v0 v0; echo y >a; git commit -qam two; git tag -am v1 v1; git tag -am twice twice v1
    git tag light; git tag -am both both v0; git branch both; git tag -am file file HEAD:a
    git checkout -qb feature/x; echo z >a; git commit -qam three; git checkout -q main
    git update-ref refs/pull/5/head feature/x; git update-ref refs/odd/refs/heads/hidden HEAD
    git update-ref refs/remotes/upstream/only feature/x";

#[rstest]
#[case::nothing(None, "main", "main", true)]
#[case::head(Some("HEAD"), "main", "main", true)]
#[case::at(Some("@"), "main", "main", true)]
#[case::branch(Some("feature/x"), "feature/x", "feature/x", true)]
#[case::full_branch(Some("refs/heads/feature/x"), "feature/x", "feature/x", true)]
#[case::half_branch(Some("heads/main"), "main", "main", true)]
#[case::annotated_tag(Some("v1"), "main", "work", false)]
#[case::tag_of_a_tag(Some("twice"), "main", "work", false)]
#[case::light_tag(Some("light"), "main", "work", false)]
#[case::full_tag(Some("refs/tags/v0"), "v0^{commit}", "work", false)]
#[case::branch_before_tag(Some("both"), "refs/heads/both", "both", true)]
#[case::tag_by_its_half_name(Some("tags/both"), "v0^{commit}", "work", false)]
#[case::pull_request(Some("pull/5/head"), "feature/x", "work", false)]
#[case::full_pull_request(Some("refs/pull/5/head"), "feature/x", "work", false)]
fn every_reference_that_people_write_is_found(
    #[case] reference: Option<&str>,
    #[case] of: &str,
    #[case] branch: &str,
    #[case] remote_branch: bool,
) {
    let local = Local::new(HISTORY);
    let cloned = local.clone(reference).unwrap();
    assert_eq!(cloned.commit, local.id(of));
    assert_eq!(
        (cloned.branch.as_str(), cloned.remote_branch),
        (branch, remote_branch)
    );
}

/// Newer servers give any commit by its id; older ones only what a reference names, so that history is searched.
#[rstest]
fn commits_are_found_by_full_and_abbreviated_ids(
    #[values(Manner::Git, Manner::OldGit)] manner: Manner,
    #[values(7, 12, 40)] digits: usize,
    #[values("main", "main~1", "v1")] of: &str,
) {
    let script =
        "echo y >a; git commit -qam two; git tag -am v1 v1 HEAD; git checkout -qb other; echo z >b; git add b
        git commit -qm three; git checkout -q main";
    let (directory, root) = repository("app.git", script);
    let (address, _asked) = serve(&root, manner);
    let id = sh(&root, &format!("git -C app.git rev-parse {of}"));
    let pristine = directory.path().join("p.git");
    let cloned = cloned(
        &format!("http://{address}/app.git"),
        Some(&id[..digits]),
        &pristine,
    )
    .unwrap();
    assert_eq!(
        cloned.commit,
        sh(&root, &format!("git -C app.git rev-parse {of}^{{commit}}")).trim()
    );
    assert_eq!(cloned.branch, "work");
    // Nothing is left that would fetch what is missing from somewhere, and nothing is missing.
    let promises = sh(
        &pristine,
        "git config --get-regexp 'promisor|partial' || true; ls objects/pack | grep promisor || true",
    );
    assert_eq!(promises, "");
    sh(
        &pristine,
        &format!("git fsck --no-dangling; git rev-list --objects {}", cloned.commit),
    );
    assert!(!directory.path().join("p.commits").exists());
}

#[rstest]
#[case::misspelt(
    "mian",
    "no branch, tag or other reference mian; its branches are both, feature/x, main"
)]
#[case::of_a_clone("origin/main", "origin/main; it has main: write that")]
#[case::full_of_a_clone("refs/remotes/origin/main", "it has main: write that")]
#[case::of_a_mirror(
    "upstream/only",
    "no branch, tag or other reference upstream/only; its branches are"
)]
#[case::upper_case("MAIN", "it has main: write that")]
#[case::ends_alike("hidden", "no branch, tag or other reference hidden; its branches are")]
#[case::of_a_fetch("FETCH_HEAD", "FETCH_HEAD; its branches are")]
#[case::a_file("file", "file leads to no commit")]
#[case::expression("main~1", "ref main~1: this is an expression over commits")]
#[case::reflog("main@{0}", "git rev-parse says it")]
#[case::abbreviated("1234567", "no branch, tag or other reference 1234567")]
#[case::absent(
    "1234567890123456789012345678901234567890",
    "no branch and no tag of the remote leads to a commit 12345"
)]
#[case::sha256(&"a".repeat(64), "the id of a SHA-256 object")]
fn what_the_remote_does_not_have_is_said_with_what_it_has(#[case] reference: &str, #[case] words: &str) {
    let local = Local::new(HISTORY);
    let error = local.clone(Some(reference)).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert!(!error.passes(), "{error}");
}

#[test]
fn every_branch_name_that_git_takes_is_cloned() {
    let names = [
        "@user/fix",
        "#12-fix",
        "it's",
        "a&b",
        "(wip)",
        "ünï",
        "a$b",
        "a!b",
        "dependabot/npm_and_yarn/@types/node-20.1.0",
        "renovate/ghcr.io-x-1.x",
        "a=b",
        "v1.0+build",
        "\"quoted\"",
        "a|b",
        "%41",
        "a;b",
        "x@y",
        "+plus",
        "a,b",
        "日本語",
        "{braces}",
        "a<b>c",
        "refs",
        "heads",
        "HEAD2",
        "deadbeef",
    ];
    let quoted: Vec<String> = names
        .map(|name| format!("'{}'", name.replace('\'', "'\\''")))
        .into();
    let local = Local::new(&format!(
        "for b in {}; do git branch -- \"$b\"; done",
        quoted.join(" ")
    ));
    for name in names {
        let cloned = local.clone(Some(name)).unwrap();
        assert_eq!((cloned.branch.as_str(), cloned.remote_branch), (name, true));
    }
}

#[rstest]
#[case::empty("rm -rf .git; git init -q -b main", None, "the repository is empty")]
#[case::empty_by_name("rm -rf .git; git init -q -b main", Some("main"), "the repository is empty")]
#[case::dangling(
    "git branch dev; git symbolic-ref HEAD refs/heads/gone",
    None,
    "HEAD leads to a branch that is not there; its branches are dev, main: name one in ref"
)]
#[case::tags_alone(
    "git tag v1; git update-ref -d refs/heads/main",
    None,
    "HEAD leads to a branch that is not there"
)]
#[case::pull_requests_alone(
    "git update-ref refs/pull/1/head HEAD; git update-ref -d refs/heads/main",
    None,
    "HEAD leads to a branch that is not there"
)]
#[case::head_of_another_name(
    "git branch -m main trunk; git symbolic-ref HEAD refs/heads/main",
    None,
    "its branches are trunk: name one in ref"
)]
#[case::by_the_name_that_head_has(
    "git branch dev; git symbolic-ref HEAD refs/heads/gone",
    Some("gone"),
    "no branch, tag or other reference gone; its branches are dev, main"
)]
#[case::of_a_directory_of_branches(
    "git branch feature/x; git symbolic-ref HEAD refs/heads/feature",
    None,
    "its branches are feature/x, main: name one in ref"
)]
fn a_repository_without_what_head_names_says_so(
    #[case] script: &str,
    #[case] reference: Option<&str>,
    #[case] words: &str,
) {
    let error = Local::new(script).clone(reference).unwrap_err();
    assert!(error.to_string().contains(words) && !error.passes(), "{error}");
}

#[rstest]
#[case::dangling_by_name("git branch dev; git symbolic-ref HEAD refs/heads/gone", Some("dev"), "dev")]
#[case::detached("git checkout -q --detach", None, "work")]
#[case::elsewhere(
    "git update-ref refs/odd/head HEAD; git symbolic-ref HEAD refs/odd/head",
    None,
    "work"
)]
fn an_odd_head_does_no_harm(#[case] script: &str, #[case] reference: Option<&str>, #[case] branch: &str) {
    assert_eq!(Local::new(script).clone(reference).unwrap().branch, branch);
}

#[rstest]
#[case::refs("main")]
#[case::head("HEAD")]
#[case::commit("sha")]
#[case::full_branch("refs/heads/main")]
#[case::tag("v1")]
#[case::abbreviated("short")]
#[case::absent("nothing")]
#[case::pull_request("pull/1/head")]
fn another_object_format_is_refused_at_once(#[case] reference: &str) {
    let local = Local::new(
        "rm -rf .git; git init -q -b main --object-format=sha256; git add .; git commit -qm base; git tag v1",
    );
    let id = local.id("main");
    let reference = match reference {
        "sha" => &id[..40],
        "short" => &id[..12],
        other => other,
    };
    let error = local.clone(Some(reference)).unwrap_err();
    assert!(
        error.to_string().contains("SHA-256 objects") && !error.passes(),
        "{error}"
    );
}

#[rstest]
#[case::asks_for_a_name(Manner::Status(401), "private or absent (the server answers 401)")]
#[case::forbids(Manner::Status(403), "private or absent (the server answers 403)")]
#[case::has_not(Manner::Status(404), "private or absent (the server answers 404)")]
#[case::has_no_longer(Manner::Status(410), "private or absent (the server answers 410)")]
#[case::forbidden_by_law(Manner::Status(451), "private or absent (the server answers 451)")]
#[case::refuses(Manner::Status(400), "refuses the request with 400")]
#[case::proxy(Manner::Status(407), "refuses the request with 407")]
#[case::page(Manner::Page, "something else than git's protocol")]
fn what_cannot_pass_is_asked_once_and_said_in_our_words(#[case] manner: Manner, #[case] words: &str) {
    let (result, asked) = over_http(manner, "app.git");
    let error = result.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(words), "{message}");
    // Git's own words are not lost.
    assert!(
        message.contains("git ls-remote: ") && message.contains("fatal: "),
        "{message}"
    );
    assert!(!error.passes());
    assert_eq!(asked, ["/app.git/info/refs"]);
}

#[rstest]
fn a_redirect_is_not_followed_and_its_end_is_named(#[values(301, 302, 307, 308)] status: u16) {
    let (result, asked) = over_http(Manner::Redirect(status), "app");
    let error = result.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("it has moved to http://127.0.0.1:"), "{message}");
    assert!(message.contains("/app.git: write that url"), "{message}");
    assert!(
        message.contains(&format!("returned error: {status}")) && !error.passes(),
        "{message}"
    );
    // Once for the answer and once for its trace; never where the redirect leads.
    assert_eq!(asked, ["/app/info/refs", "/app/info/refs"]);
    // The control: what the message says works.
    let (result, _) = over_http(Manner::Redirect(status), "app.git");
    assert_eq!(result.unwrap().branch, "main");
}

#[test]
fn a_redirect_to_a_page_to_log_in_is_told_from_a_move() {
    let (result, _) = over_http(Manner::LogIn, "app.git");
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("it leads to https://login.example/sign_in, which is no repository"),
        "{message}"
    );
}

#[rstest]
fn what_may_pass_is_asked_three_times(#[values(429, 503)] status: u16) {
    let (result, asked) = over_http(Manner::StatusFirst(status, 2), "app.git");
    assert_eq!(result.unwrap().branch, "main");
    assert!(asked.len() > 2);
    let (result, asked) = over_http(Manner::Status(status), "app.git");
    let error = result.unwrap_err();
    assert!(
        error.passes()
            && error
                .to_string()
                .contains(&format!("answers {status}, that it cannot")),
        "{error}"
    );
    assert_eq!(asked.len(), 3);
}

#[test]
fn a_repository_that_is_not_there_is_asked_for_once() {
    let (result, asked) = over_http(Manner::Git, "absent.git");
    let error = result.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("private or absent (the server answers 404)"),
        "{error}"
    );
    assert_eq!(asked, ["/absent.git/info/refs"]);
    let local = Local::new("");
    std::fs::remove_dir_all(local.directory.path().join("r")).unwrap();
    let error = local.clone(None).unwrap_err();
    assert!(
        error.to_string().contains("private or absent: ") && !error.passes(),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("does not appear to be a git repository"),
        "{error}"
    );
}

#[test]
fn other_protocols_are_refused() {
    let local = Local::new("");
    let deadline = Deadline::after(Duration::from_mins(1));
    let error = clone(
        &local.url(),
        None,
        &CloneOptions::default(),
        &local.pristine(),
        &transport("https"),
        &deadline,
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("transport 'file' not allowed") && !error.passes(),
        "{error}"
    );
}

/// A branch whose tip is an object of any content, made without git's checks.
fn commit(branch: &str, lines: &str) -> String {
    format!(
        "tree=$(git rev-parse 'HEAD^{{tree}}'); printf \"tree $tree\\n{lines}\" >.git/raw
         git update-ref refs/heads/{branch} \"$(git hash-object -t commit -w --stdin --literally <.git/raw)\"\n"
    )
}

#[rstest]
#[case::no_name(
    "author <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "missingNameBeforeEmail"
)]
#[case::no_space(
    "author A<a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "missingSpaceBeforeEmail"
)]
#[case::no_email("author A 1 +0000\\ncommitter A <a@b.invalid> 1 +0000", "missingEmail")]
#[case::no_space_before_date(
    "author A <a@b.invalid>1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "missingSpaceBeforeDate"
)]
#[case::zone(
    "author A <a@b.invalid> 1 +51800\\ncommitter A <a@b.invalid> 1 +0000",
    "badTimezone"
)]
#[case::short_zone(
    "author A <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 -700",
    "badTimezone"
)]
#[case::date(
    "author A <a@b.invalid> x +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "badDate"
)]
#[case::negative_date(
    "author A <a@b.invalid> -62135596800 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "badDateOverflow"
)]
#[case::padded_date(
    "author A <a@b.invalid> 01 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "zeroPaddedDate"
)]
#[case::two_authors(
    "author A <a@b.invalid> 1 +0000\\nauthor B <b@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "multipleAuthors"
)]
#[case::angle(
    "author A <b <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "badEmail"
)]
#[case::angle_in_the_name(
    "author A> <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "badName"
)]
#[case::nul(
    "author A <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 +0000\\n\\nnul \\000 here",
    "nulInCommit"
)]
#[case::committer_without_a_name(
    "author A <a@b.invalid> 1 +0000\\ncommitter <a@b.invalid> 1 +0000",
    "missingNameBeforeEmail"
)]
#[case::committer_without_an_address("author A <a@b.invalid> 1 +0000\\ncommitter A 1 +0000", "missingEmail")]
#[case::committers_date_padded(
    "author A <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 00001 +0000",
    "zeroPaddedDate"
)]
#[case::zone_of_letters(
    "author A <a@b.invalid> 1 +0000\\ncommitter A <a@b.invalid> 1 UTC",
    "badTimezone"
)]
#[case::a_date_beyond_all(
    "author A <a@b.invalid> 99999999999999999999 +0000\\ncommitter A <a@b.invalid> 1 +0000",
    "badDateOverflow"
)]
fn harmless_faults_of_old_history_are_let_pass_and_recorded(#[case] lines: &str, #[case] check: &str) {
    let local = Local::new(&commit("old", &format!("{lines}\\n\\nimported\\n")));
    let cloned = local.clone(Some("old")).unwrap();
    assert_eq!(cloned.tolerated, [check]);
    // The control: a sound commit has none.
    assert!(local.clone(Some("main")).unwrap().tolerated.is_empty());
}

/// A branch whose tree has one entry of this mode and name.
fn tree(branch: &str, entry: &str) -> String {
    format!(
        "blob=$(git rev-parse HEAD:a | sed 's/../\\\\x&/g'); printf \"{entry}\\000$blob\" >.git/raw
         tree=$(git hash-object -t tree -w --stdin --literally <.git/raw)
         git update-ref refs/heads/{branch} \"$(git commit-tree -m made \"$tree\")\"\n"
    )
}

#[rstest]
#[case::dot_git("100644 .git", "hasDotgit")]
#[case::dot_git_on_ntfs("100644 git~1", "hasDotgit")]
#[case::up("100644 ..", "hasDotdot")]
#[case::slash("100644 a/b", "fullPathname")]
#[case::here("100644 .", "hasDot")]
fn faults_that_could_harm_are_refused_by_object_and_check(#[case] entry: &str, #[case] check: &str) {
    let script = tree("evil", entry).replace("sh -ec", "bash -ec");
    let local = Local::new(&format!("bash -ec '{}'", script.replace('\'', "'\\''")));
    let id = local.id("evil^{tree}");
    let error = local.clone(Some("evil")).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&format!("object {id} fails {check} (")),
        "{message}"
    );
    assert!(message.contains("error: object ") && !error.passes(), "{message}");
}

#[rstest]
#[case::relative("[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = ../lib.git\\n", None)]
#[case::ssh(
    "[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = git@git.test:team/lib.git\\n",
    None
)]
#[case::spaces(
    "[submodule \"my lib\"]\\n\\tpath = my lib\\n\\turl = https://git.test/my%%20lib\\n",
    None
)]
#[case::deep(
    "[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = ../../../../../../lib.git\\n",
    None
)]
#[case::garbage("this is no configuration [\\n", None)]
#[case::options(
    "[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = https://git.test/lib\\n\\tupdate = none\\n\\tignore = all\\n",
    None
)]
#[case::dash(
    "[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = -oops\\n",
    Some("gitmodulesUrl")
)]
#[case::newline(
    "[submodule \"lib\"]\\n\\tpath = lib\\n\\turl = https://git.test/%%0ahost=evil\\n",
    Some("gitmodulesUrl")
)]
#[case::name(
    "[submodule \"../x\"]\\n\\tpath = lib\\n\\turl = https://git.test/lib\\n",
    Some("gitmodulesName")
)]
#[case::path(
    "[submodule \"x\"]\\n\\tpath = -lib\\n\\turl = https://git.test/lib\\n",
    Some("gitmodulesPath")
)]
#[case::command(
    "[submodule \"x\"]\\n\\tpath = lib\\n\\turl = https://git.test/lib\\n\\tupdate = !id\\n",
    Some("gitmodulesUpdate")
)]
fn of_submodule_files_the_attacks_are_refused(#[case] content: &str, #[case] check: Option<&str>) {
    let local = Local::new(&format!(
        "printf '{content}' >.gitmodules; git add .gitmodules; git commit -qm more"
    ));
    match (local.clone(None), check) {
        (Ok(_), None) => {}
        (Err(error), Some(check)) => {
            assert!(error.to_string().contains(check) && !error.passes(), "{error}");
        }
        (result, _) => panic!("{result:?}"),
    }
}

/// A server that counts objects sends few bytes for long: a guard on their rate would end a sound clone.
#[test]
fn the_one_clock_is_the_runs() {
    let git = git_at(Path::new("/nonexistent"), &transport("https"));
    let command = git.command(&["fetch"]);
    let arguments: Vec<String> = command
        .get_args()
        .map(|word| word.to_string_lossy().to_lowercase())
        .collect();
    assert!(
        !arguments
            .iter()
            .any(|word| word.contains("lowspeed") || word.contains("timeout")),
        "{arguments:?}"
    );
    let local = Local::new("");
    let over = Deadline::after(Duration::ZERO);
    let error = clone(
        &local.url(),
        None,
        &CloneOptions::default(),
        &local.pristine(),
        &transport("file"),
        &over,
    )
    .unwrap_err();
    assert!(matches!(error, CloneError::Git(GitError::TimedOut(_))), "{error}");
}

/// A server that falls silent amid the objects is waited for as long as the run has, once, and said for what it is.
#[rstest]
#[case::silent(Manner::Silent)]
#[case::sound(Manner::Git)]
fn a_server_that_falls_silent_is_waited_for_by_the_one_clock(#[case] manner: Manner) {
    let (directory, root) = repository(
        "app.git",
        "head -c 100000 /dev/urandom >large; git add .; git commit -qm two",
    );
    let (address, asked) = serve(&root, manner);
    let deadline = Deadline::after(Duration::from_secs(if manner == Manner::Silent { 3 } else { 60 }));
    let result = clone(
        &format!("http://{address}/app.git"),
        None,
        &CloneOptions::default(),
        &directory.path().join("p.git"),
        &transport("http"),
        &deadline,
    );
    if manner == Manner::Git {
        assert_eq!(result.unwrap().branch, "main");
        return;
    }
    let error = result.unwrap_err();
    assert!(
        matches!(error, CloneError::TimedOut(_)) && error.passes(),
        "{error}"
    );
    let words = "git fetch did not end in the time that a run has to start (startDeadlineSeconds): the server is slow or says nothing";
    assert!(error.to_string().starts_with(words), "{error}");
    // References and objects, each once.
    let objects = asked
        .try_iter()
        .filter(|path| path.ends_with("/git-upload-pack"))
        .count();
    assert_eq!(objects, 3, "two lists of references, and the objects once");
}
