//! What tools leave in work trees without anybody meaning it to be part of the project.

/// In the spelling of `.gitignore`. `docs/collect.md` shows this list; a test holds the two together.
pub const PATTERNS: &[&str] = &[
    // Compiled Python and the caches of its tools.
    "__pycache__/",
    "*.py[cod]",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    // Systems.
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    // Editors.
    ".idea/",
    ".*.sw[a-p]",
    "?*~",
    ".#*",
    // Coding agents: their state, not the instructions that teams share.
    ".claude/settings.local.json",
    ".aider.chat.history.md",
    ".aider.input.history",
    ".aider.tags.cache.*/",
    ".crush/",
    ".playwright-mcp/",
    // A package manager's store, where it cannot be linked from HOME.
    ".pnpm-store/",
];

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_shows_the_list() {
        let text = include_str!("../../../../docs/collect.md");
        let block = text
            .split("```gitignore\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let shown: Vec<&str> = block.unwrap_or_default().lines().collect();
        assert_eq!(shown, super::PATTERNS);
    }
}
