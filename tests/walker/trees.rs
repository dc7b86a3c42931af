//! Trees as teams and their tools leave them. Each says what the patch touches, as `git diff --name-status` has it, and
//! what is named as left out. Applied to the base commit the patch gives what stands in the tree without the latter.

use rstest::rstest;

use crate::world::{World, named};

/// A base commit, what becomes of its tree, and what is right.
struct Tree {
    base: &'static str,
    script: &'static str,
    /// Status and path, in git's order.
    patch: &'static [&'static str],
    /// Reason and path.
    left_out: &'static [(&'static str, &'static str)],
    /// Paths that rules ignore, as the manifest counts them.
    ignored: u64,
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
    script: "git init -q nested; echo inside >nested/f; mkdir empty-dir; git init -q empty-dir/repo",
    patch: &["A nested/f"],
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
fn the_patch_is_what_the_team_expects(#[case] expected: &Tree) {
    let world = World::with_base(expected.base);
    world.run(expected.script);
    let patch = world.collect().unwrap();
    assert!(patch.complete);
    assert_eq!(world.touched(&patch), expected.patch);
    let left_out: Vec<(&str, String)> = named(&patch)
        .into_iter()
        .map(|(path, reason)| (reason, path))
        .collect();
    let right: Vec<(&str, String)> = expected
        .left_out
        .iter()
        .map(|(reason, path)| (*reason, (*path).to_owned()))
        .collect();
    assert_eq!(left_out, right);
    assert_eq!(patch.left_out.count, right.len() as u64);
    assert_eq!(patch.left_out.ignored, expected.ignored);
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
