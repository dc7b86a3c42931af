//! Trees as teams and their tools leave them. Each says what the patch touches, as `git diff --name-status` has it, and
//! what is named as left out. Applied to the base commit the patch gives what stands in the tree without the latter.

use cofferdam_wire::runner::Exclude;
use rstest::rstest;

use crate::world::{World, named};

/// A base commit, what becomes of its tree, and what is right.
pub struct Tree {
    pub base: &'static str,
    pub script: &'static str,
    /// Status and path, in git's order.
    pub patch: &'static [&'static str],
    /// Reason and path.
    pub left_out: &'static [(&'static str, &'static str)],
    /// Paths that rules ignore, as the manifest counts them.
    pub ignored: u64,
}

impl Tree {
    /// Makes it, collects it, and compares.
    pub fn check(&self) {
        let world = World::with_base(self.base);
        world.run(self.script);
        let patch = world.collect().unwrap();
        assert!(patch.complete);
        assert_eq!(world.touched(&patch), self.patch);
        let left_out: Vec<(&str, String)> = named(&patch)
            .into_iter()
            .map(|(path, reason)| (reason, path))
            .collect();
        let right: Vec<(&str, String)> = self
            .left_out
            .iter()
            .map(|(reason, path)| (*reason, (*path).to_owned()))
            .collect();
        assert_eq!(left_out, right);
        assert_eq!(patch.left_out.count, right.len() as u64);
        assert_eq!(patch.left_out.ignored, self.ignored);
    }
}

const ORDINARY: Tree = Tree {
    base: "echo one >a; git add .; git commit -qm base",
    script: "echo two >a",
    patch: &["M a"],
    left_out: &[],
    ignored: 0,
};

/// A store that pnpm links into its ignored `node_modules`: every name of its files is in the tree.
const PNPM_STORE: Tree = Tree {
    base: "mkdir src; echo 'export const a = 1' >src/index.js; echo '{}' >package.json; echo node_modules/ >.gitignore
        git add .; git commit -qm base",
    script: "mkdir -p store/files/0a node_modules/.pnpm/left/node_modules/left
        for n in 1 2 3; do echo module $n >store/files/0a/f$n
        ln store/files/0a/f$n node_modules/.pnpm/left/node_modules/left/f$n; done
        echo 'export const a = 2' >src/index.js",
    patch: &["M src/index.js", "A store/files/0a/f1", "A store/files/0a/f2", "A store/files/0a/f3"],
    left_out: &[],
    ignored: 1,
};

/// A product that a build tool links out of its ignored cache.
const LINKED_PRODUCT: Tree = Tree {
    base: "mkdir src; echo 'fn main() {}' >src/main.rs; echo /target >.gitignore; git add .; git commit -qm base",
    script: "mkdir -p target/release/deps dist; printf '\\177ELF\\000' >target/release/deps/app-0123
        ln target/release/deps/app-0123 target/release/app; ln target/release/deps/app-0123 dist/app
        echo 'fn main() { println!() }' >src/main.rs",
    patch: &["A dist/app", "M src/main.rs"],
    left_out: &[],
    ignored: 1,
};

/// A name of a new file and one of a changed file inside of `.git`, and one of a new file outside.
const LINKS: Tree = Tree {
    base: "echo one >a; echo one >b; git add .; git commit -qm base",
    script: "echo two >a; ln a .git/backup; echo new >new; ln new .git/new; echo out >../out; ln ../out out
        ln b ../b-is-unchanged",
    patch: &["M a", "A new"],
    left_out: &[("HardLink", "out")],
    ignored: 0,
};

/// A coding tool that works in linked work trees inside of the repository.
const LINKED_WORKTREE: Tree = Tree {
    base:
        "mkdir -p src .claude; for n in 1 2 3; do echo $n >src/$n.txt; done; echo '{}' >.claude/settings.json
        git add .; git commit -qm base",
    script: "git -c safe.directory='*' worktree add -q .claude/worktrees/fix-1 -b fix-1
        echo changed >.claude/worktrees/fix-1/src/2.txt; echo changed >src/1.txt",
    patch: &["M src/1.txt"],
    left_out: &[("LinkedWorktree", ".claude/worktrees/fix-1")],
    ignored: 0,
};

/// A socket of a process manager and a FIFO of a build.
const SOCKET: Tree = Tree {
    base: "echo 'web: run' >Procfile; git add .; git commit -qm base",
    script:
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('.overmind.sock')\"; mkfifo build.pipe
        echo 'web: run --fast' >Procfile",
    patch: &["M Procfile"],
    left_out: &[("SpecialFile", ".overmind.sock"), ("SpecialFile", "build.pipe")],
    ignored: 0,
};

/// A large file beside a small one, each new.
const LARGE_FILE: Tree = Tree {
    base: ORDINARY.base,
    script: "truncate -s 120M core; truncate -s 20G disk.img; echo small >small; echo two >a",
    patch: &["M a", "A small"],
    left_out: &[("FileTooLarge", "core"), ("FileTooLarge", "disk.img")],
    ignored: 0,
};

/// Modes as old tools wrote them.
const OLD_MODES: Tree = Tree {
    base: "blob=$(echo hello | git hash-object -w --stdin); mkdir sub; echo hello >sub/group.txt; echo hello >a.txt
        sub=$(printf '100664 blob %s\\tgroup.txt\\n' $blob | git mktree)
        top=$(printf '100664 blob %s\\ta.txt\\n040000 tree %s\\tsub\\n' $blob $sub | git mktree)
        git update-ref refs/heads/main $(git commit-tree -m old $top)",
    script: "echo more >>sub/group.txt",
    patch: &["M sub/group.txt"],
    left_out: &[],
    ignored: 0,
};

/// Links to directories, new, dangling, and in the place of files and directories.
const LINKS_TO_DIRECTORIES: Tree = Tree {
    base: "mkdir real; echo x >real/f; echo y >file; ln -s real dirlink; git add .; git commit -qm base",
    script:
        "ln -s real newdirlink; ln -s /nonexistent/target dangling; rm file; ln -s real/f file; rm dirlink
        mkdir dirlink; echo z >dirlink/f; rm -r real; ln -s dirlink real",
    patch: &[
        "A dangling",
        "D dirlink",
        "A dirlink/f",
        "T file",
        "A newdirlink",
        "A real",
        "D real/f",
    ],
    left_out: &[],
    ignored: 0,
};

/// Directories and links that change places.
const SWAPPED: Tree = Tree {
    base: "mkdir -p tools/templates; echo t >tools/templates/t; mkdir x; echo 1 >x/1; echo l >y; git add .
        git commit -qm base",
    script:
        "mkdir shared; mv tools/templates shared/templates; ln -s ../shared/templates tools/templates; rm -r x
        ln -s y x; rm y; mkdir y; echo 2 >y/2",
    patch: &[
        "A shared/templates/t",
        "A tools/templates",
        "D tools/templates/t",
        "A x",
        "D x/1",
        "D y",
        "A y/2",
    ],
    left_out: &[],
    ignored: 0,
};

/// Repositories inside: their files are content, their history is named.
const NESTED: Tree = Tree {
    base: "echo x >a; git add .; git commit -qm base",
    script: "git init -q nested; echo inside >nested/f; mkdir empty-dir; git init -q empty-dir/repo
        git init -q --bare --template= bare.git; rmdir bare.git/objects/* bare.git/refs/* bare.git/objects bare.git/refs
        mkdir bare.git/hooks; echo 'touch ../marker' >bare.git/hooks/post-commit; chmod +x bare.git/hooks/post-commit",
    patch: &[
        "A bare.git/HEAD",
        "A bare.git/config",
        "A bare.git/hooks/post-commit",
        "A nested/f",
    ],
    left_out: &[
        ("NestedRepository", "empty-dir/repo/.git"),
        ("NestedRepository", "nested/.git"),
    ],
    ignored: 0,
};

/// Work in a submodule, and an empty directory beside it.
const SUBMODULE: Tree = Tree {
    base: "git init -q -b main ../sub; (cd ../sub; echo s >s.txt; git add .; git commit -qm sub)
        git -c protocol.file.allow=always submodule --quiet add ../sub vendor/sub 2>/dev/null; git commit -qm base",
    script: "rmdir vendor/sub; git clone -q ../sub vendor/sub; echo fixed >vendor/sub/s.txt; echo see >NOTES; mkdir empty",
    patch: &["A NOTES"],
    left_out: &[("Submodule", "vendor/sub"), ("EmptyDirectory", "empty")],
    ignored: 0,
};

/// Binary files, changed, new, executable and empty.
const BINARY: Tree = Tree {
    base: "printf 'package main\\n' >main.go; head -c 5000 /dev/zero >old.bin; git add .; git commit -qm base",
    script: "head -c 300000 /dev/urandom >server; chmod +x server
        printf x | dd of=old.bin bs=1 seek=2500 conv=notrunc status=none; mkdir img
        printf '\\211PNG\\r\\n\\032\\n' >img/a.png; : >empty",
    patch: &["A empty", "A img/a.png", "M old.bin", "A server"],
    left_out: &[],
    ignored: 0,
};

/// Names that quoting, other systems and other normal forms know.
const NAMES: Tree = Tree {
    base: "mkdir 'dir with space'; echo x >'dir with space/file name'; echo u >\"$(printf 'caf\\303\\251')\"; git add .
        git commit -qm base",
    script: "echo y >'dir with space/file name'; mv \"$(printf 'caf\\303\\251')\" \"$(printf 'cafe\\314\\201')\"
        echo q >'we\"ird'; echo e >' lead'; echo c >CON; echo d >trail.; echo p >a:b; echo b >'back\\slash'",
    patch: &[
        "A  lead",
        "A CON",
        "A a:b",
        "A back\\slash",
        "A cafe\u{301}",
        "D caf\u{e9}",
        "M dir with space/file name",
        "A trail.",
        "A we\"ird",
    ],
    left_out: &[],
    ignored: 0,
};

/// Bits of modes that git does not know.
const MODES: Tree = Tree {
    base: "mkdir generated; echo a >generated/x; chmod +x generated/x; echo data >data; git add .; git commit -qm base",
    script: "chmod 0444 generated/x; chmod 0654 data; echo n >new; chmod 0011 new; echo m >new2; chmod 0755 new2; : >new3
        chmod 4755 new3",
    patch: &["M generated/x", "A new", "A new2", "A new3"],
    left_out: &[],
    ignored: 0,
};

/// An agent that starts a project: it writes the rules itself, then installs.
const OWN_RULES: Tree = Tree {
    base: "echo '# empty project' >README.md; git add .; git commit -qm base",
    script:
        "echo node_modules/ >.gitignore; mkdir -p src node_modules/left; echo 'console.log(1)' >src/app.js
        for n in 1 2 3; do echo $n >node_modules/left/$n; done",
    patch: &["A .gitignore", "A src/app.js"],
    left_out: &[("IgnoredByNewRule", "node_modules")],
    ignored: 0,
};

/// An environment that ignores itself, as Python's are made, and one file among others in a directory.
const IGNORES_ITSELF: Tree = Tree {
    base: "mkdir app; echo 'x = 1' >app/main.py; git add .; git commit -qm base",
    script: "mkdir -p .venv/lib; echo '*' >.venv/.gitignore; echo lib >.venv/lib/a.py; echo '*.gen' >app/.gitignore
        echo made >app/a.gen; echo 'x = 2' >app/main.py",
    patch: &["A app/.gitignore", "M app/main.py"],
    left_out: &[("IgnoredByNewRule", ".venv"), ("IgnoredByNewRule", "app/a.gen")],
    ignored: 0,
};

/// Rules that the agent took away, and one that it wrote against a rule of the commit.
const RULES_CHANGED: Tree = Tree {
    base: "printf '.env\n*.log\n' >.gitignore; git add .; git commit -qm base",
    script: "printf 'dist/\n*.log\n!wanted.log\n' >.gitignore; mkdir dist; echo d >dist/d; echo secret >.env
        echo l >a.log; echo w >wanted.log",
    patch: &["M .gitignore", "A wanted.log"],
    left_out: &[("IgnoredByNewRule", "dist")],
    ignored: 2,
};

/// What tools leave behind; one of it is part of the project, and a rule keeps another.
const LITTER: Tree = Tree {
    base: "mkdir .idea; echo shared >.idea/codeStyle.xml; echo '!keep.pyc' >.gitignore; git add -f .
        git commit -qm base",
    script: "mkdir -p .claude src/__pycache__ .pnpm-store/v10; echo '{}' >.claude/settings.local.json
        echo p >.claude/commands.md; echo changed >.idea/codeStyle.xml; echo w >.idea/workspace.xml; : >.DS_Store
        printf '\\0' >src/__pycache__/m.pyc; printf '\\0' >keep.pyc; echo x >src/m.py; printf swap >.a.swp
        echo s >.pnpm-store/v10/f",
    patch: &["A .claude/commands.md", "M .idea/codeStyle.xml", "A keep.pyc", "A src/m.py"],
    left_out: &[],
    ignored: 6,
};

/// Files that a tool wrote with the line endings that the project names; each has one more line.
const LINE_ENDINGS: Tree = Tree {
    base: "printf '*.bat text eol=crlf\n*.txt text\n*.md text=auto\n' >.gitattributes; printf 'one\ntwo\n' >run.bat
        printf 'one\n' >notes.txt; printf 'one\n' >a.md; printf 'one\n' >plain
        git -c core.autocrlf=false add .; printf 'old\r\nold\r\n' >old.txt
        git update-index --add --cacheinfo 100644,$(git hash-object -w --no-filters old.txt),old.txt; git commit -qm base",
    script: "printf 'one\r\ntwo\r\nthree\r\n' >run.bat; printf 'one\r\ntwo\r\n' >notes.txt
        printf 'one\r\ntwo\r\n' >a.md; printf 'one\r\ntwo\r\n' >new.txt; printf 'one\r\n' >plain
        printf 'old\r\nold\r\nnew\r\n' >old.txt",
    patch: &["M a.md", "A new.txt", "M notes.txt", "M old.txt", "M plain", "M run.bat"],
    left_out: &[],
    ignored: 0,
};

/// Rules that negate, end in spaces, carriage returns or slashes, or begin with a mark.
const RULES: Tree = Tree {
    base: r"mkdir -p keep/deep sp
        printf '\357\273\277bom.txt\r\ncrlf.txt\r\ntrail.txt   \r\nspace\\ \nd/\n!d/sub/*\n/keep/*\n!/keep/deep/\n/keep/deep/*\n!/keep/deep/yes\nlogs/**/x.log\n*.[oa]\n!important.o\n\\#hash\n\\!bang\nfoo/**\n' >.gitignore
        echo x >keep/deep/yes; echo '*' >sp/.gitignore; echo '!.gitignore' >>sp/.gitignore; git add -f .
        git commit -qm base",
    script: "mkdir -p d/sub logs/a/b foo/bar new/d; for f in bom.txt crlf.txt trail.txt 'space ' d/sub/f keep/no keep/deep/no \
          keep/deep/yes2 logs/x.log logs/a/b/x.log m.o important.o lib.a '#hash' '!bang' foo/bar/baz sp/new new/d/f Bom.txt \
          'trail.txt '; do echo x >\"$f\"; done; echo y >keep/deep/yes",
    patch: &[],
    left_out: &[],
    ignored: 0,
};

#[rstest]
#[case::ordinary(&ORDINARY)]
#[case::pnpm_store(&PNPM_STORE)]
#[case::linked_product(&LINKED_PRODUCT)]
#[case::links(&LINKS)]
#[case::linked_worktree(&LINKED_WORKTREE)]
#[case::socket(&SOCKET)]
#[case::large_file(&LARGE_FILE)]
#[case::old_modes(&OLD_MODES)]
#[case::links_to_directories(&LINKS_TO_DIRECTORIES)]
#[case::swapped(&SWAPPED)]
#[case::nested(&NESTED)]
#[case::submodule(&SUBMODULE)]
#[case::binary(&BINARY)]
#[case::names(&NAMES)]
#[case::modes(&MODES)]
#[case::own_rules(&OWN_RULES)]
#[case::ignores_itself(&IGNORES_ITSELF)]
#[case::rules_changed(&RULES_CHANGED)]
#[case::litter(&LITTER)]
#[case::line_endings(&LINE_ENDINGS)]
fn the_patch_is_what_the_team_expects(#[case] expected: &Tree) {
    expected.check();
}

/// What is new in the patch is what `git status` in the agent's own tree calls new.
#[test]
fn what_is_ignored_is_what_git_ignores() {
    let world = World::with_base(RULES.base);
    world.run(RULES.script);
    let patch = world.collect().unwrap();
    let mut ours: Vec<String> = world
        .touched(&patch)
        .into_iter()
        .filter_map(|line| line.strip_prefix("A ").map(str::to_owned))
        .collect();
    let git = world.run("git -c safe.directory='*' ls-files -z --others --exclude-standard");
    let mut git: Vec<String> = git.split_terminator('\0').map(str::to_owned).collect();
    ours.sort();
    git.sort();
    assert_eq!(ours, git);
    assert!(
        ours.len() == 3 && patch.left_out.ignored > 5,
        "{ours:?} {:?}",
        patch.left_out
    );
}

#[test]
fn patterns_extend_or_replace_the_list_of_litter() {
    let touched = |keep_litter: bool, patterns: &[&str]| {
        let mut world = World::with_base(ORDINARY.base);
        world.exclude = Exclude {
            keep_litter,
            patterns: patterns.iter().map(ToString::to_string).collect(),
        };
        world.run("echo two >a; : >.DS_Store; mkdir out; echo o >out/o; echo t >t.tmp; echo k >k.tmp");
        let patch = world.collect().unwrap();
        (world.touched(&patch), patch.left_out.ignored)
    };
    let of = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        touched(false, &[]),
        (of(&["M a", "A k.tmp", "A out/o", "A t.tmp"]), 1)
    );
    assert_eq!(
        touched(false, &["*.tmp", "!k.tmp", "/out/"]),
        (of(&["M a", "A k.tmp"]), 3)
    );
    assert_eq!(
        touched(true, &["*.tmp"]),
        (of(&["A .DS_Store", "M a", "A out/o"]), 2)
    );
    // A tracked file is collected whatever the patterns say.
    assert_eq!(touched(true, &["*"]), (of(&["M a"]), 4));
}

/// Unchanged files are known by what the file system says of them; a change that keeps size and time is seen by the change
/// time, and one of the mode alone is no change of content.
#[test]
fn a_change_that_hides_its_time_is_seen() {
    let world = World::with_base("echo one >a; echo one >b; git add .; git commit -qm base");
    world.run("touch -r a ../then; echo two >a; touch -r ../then a; chmod +x b");
    let patch = world.collect().unwrap();
    assert_eq!(world.touched(&patch), ["M a", "M b"]);
    world.assert_exact(&patch, &[]);
}

/// One line more is one line more, whatever its ending; what no attribute speaks of keeps its bytes.
#[test]
fn line_endings_are_those_of_the_project() {
    let world = World::with_base(LINE_ENDINGS.base);
    world.run(LINE_ENDINGS.script);
    let patch = world.collect().unwrap();
    let applied = world.applied(&patch);
    for (path, content) in [
        ("run.bat", "one\ntwo\nthree\n"),
        ("notes.txt", "one\ntwo\n"),
        ("a.md", "one\ntwo\n"),
        ("new.txt", "one\ntwo\n"),
        ("plain", "one\r\n"),
        ("old.txt", "old\r\nold\r\nnew\r\n"),
    ] {
        let (_, found) = &applied[path.as_bytes()];
        assert_eq!(String::from_utf8_lossy(found), content, "{path}");
    }
    // `new.txt` has two new lines, `plain` one line that changed, and the other four one new line each.
    assert_eq!((patch.facts.insertions, patch.facts.deletions), (7, 1));
    // A file that only a tool's line endings changed did not change.
    let world = World::with_base(LINE_ENDINGS.base);
    world.run("printf 'one\r\ntwo\r\n' >run.bat");
    assert_eq!(world.collect().unwrap().facts.files, 0);
}

/// What Git LFS is to keep arrives as its content, and that is told; a pointer is what the project wants.
#[test]
fn content_for_git_lfs_is_told() {
    let world = World::with_base(
        "printf '*.bin filter=lfs diff=lfs merge=lfs -text\n' >.gitattributes
         printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 4000000\n' 7 >model.bin
         git add .; git commit -qm base",
    );
    world.run(
        "head -c 200000 /dev/urandom >new.bin; head -c 300000 /dev/urandom >model.bin
         printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 5\n' 8 >pointer.bin",
    );
    let patch = world.collect().unwrap();
    assert_eq!(patch.lfs_files, 2);
    world.assert_exact(&patch, &[]);
}
