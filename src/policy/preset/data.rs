//! What each preset lets out, and what that could leak. This is data: each path was looked up in the registry's own
//! documentation, or seen in what its clients send.
//!
//! Methods and paths are those that read. What publishes, uploads, signs in or makes tokens is closed by not standing
//! here, and a path that takes free text is left out where clients do without it.

use cofferdam_api::Preset;

/// What one preset stands for.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub preset: Preset,
    /// What it is for, in a few words.
    pub what: &'static str,
    /// What it lets out.
    pub grants: Grants,
    /// What stays closed though it is at the same hosts or beside them.
    pub closed: &'static str,
    /// Who could learn what from an agent that uses nothing else.
    pub leaks: &'static str,
}

/// What a preset lets out.
#[derive(Clone, Copy, Debug)]
pub enum Grants {
    /// The same for every policy.
    Fixed(&'static [Grant]),
    /// The clones of the repositories that the same policy names.
    Repositories,
}

/// Requests to some hosts.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The hosts.
    pub hosts: &'static [&'static str],
    /// Their ports.
    pub ports: &'static [u16],
    /// The methods.
    pub methods: &'static [&'static str],
    /// The paths.
    pub paths: &'static [&'static str],
}

const TLS: &[u16] = &[443];
const READS: &[&str] = &["GET", "HEAD"];

/// Every preset, by name.
pub const PRESETS: &[Entry] = &[
    Entry {
        preset: Preset::Anthropic,
        what: "Anthropic's model API: messages, counting of tokens, the list of models",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["api.anthropic.com"],
                ports: TLS,
                methods: &["POST"],
                paths: &["/v1/messages", "/v1/messages/count_tokens"],
            },
            Grant {
                hosts: &["api.anthropic.com"],
                ports: TLS,
                methods: READS,
                paths: &["/v1/models", "/v1/models/*"],
            },
        ]),
        closed: "telemetry (`/api/…`), files, batches, skills, the administration of organisations",
        leaks: "A relay. The body of a message is not looked at: it can have Anthropic fetch an address, or call an MCP \
                server, of the attacker's. Whoever owns the key that is used sees everything.",
    },
    Entry {
        preset: Preset::Crates,
        what: "packages of crates.io for cargo: the sparse index and the archives",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["index.crates.io"],
                ports: TLS,
                methods: READS,
                paths: &["/config.json", "/*/*", "/*/*/*"],
            },
            Grant {
                hosts: &["static.crates.io"],
                ports: TLS,
                methods: READS,
                paths: &["/crates/**"],
            },
        ]),
        closed: "crates.io itself: publishing, yanking, owners, search",
        leaks: "Names of packages that are asked for reach the registry's log. Counts of downloads are public: whoever has \
                packages there can read a few bits an hour off them.",
    },
    Entry {
        preset: Preset::Debian,
        what: "packages of Debian for apt",
        grants: Grants::Fixed(&[Grant {
            hosts: &["deb.debian.org", "security.debian.org"],
            ports: &[80, 443],
            methods: READS,
            paths: &["/debian/**", "/debian-security/**"],
        }]),
        closed: "everything but the two archives, such as other distributions at the same hosts",
        leaks: "Paths that are asked for reach the log of whoever mirrors the archive, at port 80 also everyone between.",
    },
    Entry {
        preset: Preset::Gemini,
        what: "Google's Gemini API: generating and counting, the list of models",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["generativelanguage.googleapis.com"],
                ports: TLS,
                methods: &["POST"],
                paths: &["/v1/models/*", "/v1beta/models/*"],
            },
            Grant {
                hosts: &["generativelanguage.googleapis.com"],
                ports: TLS,
                methods: READS,
                paths: &["/v1/models", "/v1/models/*", "/v1beta/models", "/v1beta/models/*"],
            },
        ]),
        closed: "files, cached contents, tuned models, corpora, operations",
        leaks: "A relay. The body is not looked at: it can have Google fetch an address (`urlContext`), or search. What the \
                model is asked to do stands in the path's last segment, so batches and videos are open with it. Whoever owns \
                the key that is used sees everything.",
    },
    Entry {
        preset: Preset::Git,
        what: "reading the repositories that the same policy names in `limits.repositories.clone`, by git over HTTPS",
        grants: Grants::Repositories,
        closed: "pushing (`git-receive-pack`), the forge's web pages and its API, Git LFS",
        leaks: "Commits that git says it has are 20 bytes each of free choice, and reach the forge, whose owner alone sees \
                them. Where the policy names other people's repositories by `**`, their owners see in the forge's traffic \
                figures that someone fetches.",
    },
    Entry {
        preset: Preset::Github,
        what: "reading what is public on github.com: git, releases, archives, raw files, repositories by the API",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["github.com"],
                ports: TLS,
                methods: READS,
                paths: &[
                    "/*/*/info/refs?service=git-upload-pack",
                    "/*/*/archive/**",
                    "/*/*/raw/**",
                    "/*/*/releases/download/**",
                    "/*/*/releases/latest",
                    "/*/*/releases/latest/download/*",
                ],
            },
            Grant {
                hosts: &["github.com"],
                ports: TLS,
                methods: &["POST"],
                paths: &["/*/*/git-upload-pack"],
            },
            Grant {
                hosts: &["api.github.com"],
                ports: TLS,
                methods: READS,
                paths: &["/repos/**"],
            },
            Grant {
                hosts: &[
                    "codeload.github.com",
                    "raw.githubusercontent.com",
                    "objects.githubusercontent.com",
                    "release-assets.githubusercontent.com",
                ],
                ports: TLS,
                methods: READS,
                paths: &["/**"],
            },
        ]),
        closed: "pushing, issues, pull requests, gists, comments, actions, search, packages, signing in",
        leaks: "Owners of a repository see how often it is cloned and viewed, and from a release how often each file was \
                fetched: an attacker with many of them reads a few bits an hour off that. Paths reach GitHub's log.",
    },
    Entry {
        preset: Preset::Gitlab,
        what: "reading what is public on gitlab.com: git, archives, raw files, projects by the API",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["gitlab.com"],
                ports: TLS,
                methods: READS,
                paths: &[
                    "/*/*/info/refs?service=git-upload-pack",
                    "/*/*/*/info/refs?service=git-upload-pack",
                    "/*/*/*/*/info/refs?service=git-upload-pack",
                    "/*/*/-/archive/**",
                    "/*/*/*/-/archive/**",
                    "/*/*/-/raw/**",
                    "/*/*/*/-/raw/**",
                    "/api/v4/projects/*",
                    "/api/v4/projects/*/repository/**",
                    "/api/v4/projects/*%2F*",
                    "/api/v4/projects/*%2F*/repository/**",
                    "/api/v4/projects/*%2F*%2F*",
                    "/api/v4/projects/*%2F*%2F*/repository/**",
                ],
            },
            Grant {
                hosts: &["gitlab.com"],
                ports: TLS,
                methods: &["POST"],
                paths: &[
                    "/*/*/git-upload-pack",
                    "/*/*/*/git-upload-pack",
                    "/*/*/*/*/git-upload-pack",
                ],
            },
        ]),
        closed: "pushing, issues, merge requests, snippets, pipelines, packages, search, signing in",
        leaks: "Owners of a project see how often it is fetched: an attacker with many of them reads a few bits an hour off \
                that. Paths reach GitLab's log.",
    },
    Entry {
        preset: Preset::Go,
        what: "modules of Go by Google's proxy, and their checksums",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["proxy.golang.org"],
                ports: TLS,
                methods: READS,
                paths: &["/**"],
            },
            Grant {
                hosts: &["sum.golang.org"],
                ports: TLS,
                methods: READS,
                paths: &["/supported", "/latest", "/lookup/**", "/tile/**"],
            },
        ]),
        closed: "the servers of modules themselves; there is nothing to publish",
        leaks: "A relay. Both fetch a module from the server that its path names, such as evil.example/SECRET, so whoever \
                runs a server receives up to some hundred bytes a request. Where that matters, name a proxy of your own that \
                fetches from known servers alone.",
    },
    Entry {
        preset: Preset::Maven,
        what: "artefacts of Maven Central for Maven, Gradle and their kin",
        grants: Grants::Fixed(&[Grant {
            hosts: &["repo.maven.apache.org", "repo1.maven.org"],
            ports: TLS,
            methods: READS,
            paths: &["/maven2/**"],
        }]),
        closed: "central.sonatype.com: publishing, search; Gradle's plugin portal",
        leaks: "Paths that are asked for reach the registry's log. Publishers see monthly counts of downloads.",
    },
    Entry {
        preset: Preset::Npm,
        what: "packages of npm for npm, pnpm and yarn",
        grants: Grants::Fixed(&[Grant {
            hosts: &["registry.npmjs.org", "registry.yarnpkg.com"],
            ports: TLS,
            methods: READS,
            paths: &[
                "/*",
                "/*/*",
                "/*/-/*",
                "/*/*/-/*",
                "/*%2F*",
                "/*%2F*/*",
                "/*%2F*/-/*",
            ],
        }]),
        closed: "publishing (`PUT`), signing in, tokens, search, `npm audit` (`POST`)",
        leaks: "Names of packages that are asked for reach the registry's log. Counts of downloads are public: whoever has \
                packages there can read a few bits an hour off them.",
    },
    Entry {
        preset: Preset::Openai,
        what: "OpenAI's model API: responses, chat completions, embeddings, the list of models",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["api.openai.com"],
                ports: TLS,
                methods: &["POST"],
                paths: &["/v1/responses", "/v1/chat/completions", "/v1/embeddings"],
            },
            Grant {
                hosts: &["api.openai.com"],
                ports: TLS,
                methods: READS,
                paths: &["/v1/models", "/v1/models/*"],
            },
        ]),
        closed: "files, batches, fine-tuning, conversations, containers, realtime, the administration of organisations",
        leaks: "A relay. The body of a request is not looked at: it can have OpenAI fetch an address, or call an MCP server, \
                of the attacker's. Whoever owns the key that is used sees everything.",
    },
    Entry {
        preset: Preset::Pypi,
        what: "packages of PyPI for pip, uv, poetry and their kin",
        grants: Grants::Fixed(&[
            Grant {
                hosts: &["pypi.org"],
                ports: TLS,
                methods: READS,
                paths: &[
                    "/simple/",
                    "/simple/*",
                    "/simple/*/",
                    "/pypi/*/json",
                    "/pypi/*/*/json",
                ],
            },
            Grant {
                hosts: &["files.pythonhosted.org"],
                ports: TLS,
                methods: READS,
                paths: &["/packages/**"],
            },
        ]),
        closed: "upload.pypi.org, signing in, search",
        leaks: "Names of packages that are asked for reach the registry's log. Counts of downloads are public: whoever has \
                packages there can read a few bits an hour off them.",
    },
];
