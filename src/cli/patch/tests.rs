use super::lines::Lines;
use super::*;
use crate::print::paint::Paint;
use cofferdam_text::is_hidden;
use proptest::prelude::*;

const PATCH: &[u8] = b"diff --git a/src/a b.rs b/src/a b.rs
index 111..222 100644
--- a/src/a b.rs
+++ b/src/a b.rs
@@ -1,3 +1,4 @@ fn main()
 one
-diff --git a/fake b/fake
+++ b/not a header
+@@ -1,9 +1,9 @@
 two
\\ No newline at end of file
diff --git a/old.txt b/new.txt
similarity index 90%
rename from old.txt
rename to new.txt
diff --git a/logo.png b/logo.png
new file mode 100644
GIT binary patch
literal 5
McmZ?wbhEHbU|;|M1qK5E0RR91

literal 0
HcmV?d00001

diff --git a/last b/last
--- a/last
+++ b/last
@@ -1 +1 @@
-x
+\x1b[2J\xff
";

#[test]
fn content_never_passes_for_a_header() {
    let files = stat(PATCH);
    let names: Vec<(&str, u64, u64, bool)> = files
        .iter()
        .map(|file| (file.path.as_str(), file.added, file.removed, file.binary))
        .collect();
    assert_eq!(
        names,
        [
            ("src/a b.rs", 2, 1, false),
            ("old.txt => new.txt", 0, 0, false),
            ("logo.png", 0, 0, true),
            ("last", 1, 1, false),
        ]
    );
    insta::assert_snapshot!(table(&files), @r"
     src/a b.rs         | 3 ++-
     old.txt => new.txt | 0
     logo.png           | Bin
     last               | 2 +-
     4 files changed, 3 insertions(+), 2 deletions(-)
    ");
}

#[test]
fn a_terminal_sees_what_it_would_obey() {
    let text = shown(PATCH, Paint::Plain);
    assert!(text.contains("+\\u{1b}[2J\\xff\n"), "{text}");
    assert_eq!(
        text.lines().count(),
        PATCH.split_inclusive(|byte| *byte == b'\n').count()
    );
    assert!(shown(PATCH, Paint::Ansi).contains("\u{1b}[32;1m+++ b/not a header\u{1b}[0m"));
}

proptest! {
    #[test]
    fn whatever_a_patch_is_no_byte_of_it_moves_the_cursor(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let patch = [PATCH, &bytes].concat();
        let text = shown(&patch, Paint::Plain);
        prop_assert!(text.chars().all(|character| matches!(character, '\n' | '\t') || !is_hidden(character)));
        let stat = table(&stat(&patch));
        prop_assert!(stat.chars().all(|character| character == '\n' || !is_hidden(character)));
        // Every line is one of something.
        prop_assert_eq!(Lines::of(&patch).count(), text.lines().count());
    }
}
