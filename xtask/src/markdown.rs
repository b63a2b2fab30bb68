//! As much of Markdown as the checks need: fenced blocks, links, headings.

/// A comment on a line of its own just before a fence: the block is executed by `cargo xtask test`.
pub(crate) const RUN_MARK: &str = "<!-- run -->";

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its opening fence, from 1.
    pub(crate) line: usize,
    /// The word after the fence.
    pub(crate) language: String,
    /// True when `RUN_MARK` stands before it.
    pub(crate) run: bool,
    /// The text inside.
    pub(crate) text: String,
}

/// Every fenced block, in order.
pub(crate) fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut marked = false;
    for (number, line) in markdown.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some(Block { line: number + 1, language, run: marked, text: String::new() });
                marked = false;
            }
            (None, None) if !line.trim().is_empty() => marked = line.trim() == RUN_MARK,
            (None, None) => {}
        }
    }
    found
}

/// A link's target and the line it stands on, from 1. Fenced blocks and code spans are left out.
pub(crate) fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(markdown) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number, target.to_owned()));
            rest = &rest[end..];
        }
    }
    found
}

/// The anchors that a page's headings have, as GitHub makes them.
pub(crate) fn anchors(markdown: &str) -> Vec<String> {
    let headings = prose(markdown).filter_map(|(_, line)| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len() && text.starts_with(' ')).then(|| slug(text))
    });
    headings.collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The lines outside fenced blocks.
fn prose(markdown: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    markdown.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((number + 1, line))
    })
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_with_the_mark_right_before_it_is_run() {
        let page = "<!-- run -->\n```sh\na\nb\n```\ntext\n```sh\nc\n```\n<!-- run -->\ntext\n```sh\nd\n```\n";
        let blocks = blocks(page);
        assert_eq!(blocks.iter().map(|b| b.run).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!((blocks[0].line, blocks[0].text.as_str(), blocks[0].language.as_str()), (2, "a\nb\n", "sh"));
    }

    #[test]
    fn links_are_found_outside_code_only() {
        let page = "see [a](docs/a.md) and [b](b.md#c \"title\"), `[no](no.md)`\n```\n[no](no.md)\n```\n";
        assert_eq!(links(page), [(1, "docs/a.md".to_owned()), (1, "b.md#c".to_owned())]);
    }

    #[test]
    fn anchors_are_as_github_makes_them() {
        assert_eq!(anchors("# A new FHIR interaction!\n#no\n"), ["a-new-fhir-interaction"]);
    }
}
