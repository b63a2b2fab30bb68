//! The part of FHIRPath that R4's search parameters are written in (<https://hl7.org/fhirpath/N1/>): unions of paths, each
//! with conditions, casts and indexes, and the one test of existence that `Patient.deceased` needs.

/// One part of a union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Where it begins.
    pub(crate) root: Root,
    /// How it goes on.
    pub(crate) steps: Vec<Step>,
    /// True when not what is found is meant but whether anything is, other than `false`.
    pub(crate) exists: bool,
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// At a resource of this type, or of any for `Resource`.
    Type(&'static str),
    /// At the element at hand: in the components of composites.
    Here,
    /// At the resource that the element at hand is of.
    Resource,
}

/// One step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// To a member.
    Member(&'static str),
    /// Only what is of this type.
    As(&'static str),
    /// Only references that lead to a resource of this type.
    Refers(&'static str),
    /// Only what has this member with this text.
    Equals(&'static str, &'static str),
    /// Only the one at this place.
    Index(usize),
}

/// Reads an expression. None when it uses more of FHIRPath than R4's parameters do.
pub(crate) fn parse(text: &'static str) -> Option<Vec<Branch>> {
    text.split('|').map(|part| branch(part.trim())).collect()
}

fn branch(text: &'static str) -> Option<Branch> {
    if let Some((left, right)) = text.split_once(" and ") {
        let (path, same) = (left.strip_suffix(".exists()")?, right.strip_suffix(" != false")?);
        return (path == same).then(|| branch(path))?.map(|found| Branch { exists: true, ..found });
    }
    let mut steps = Vec::new();
    match text.strip_prefix('(') {
        None => path(text, &mut steps)?,
        Some(rest) => {
            let (inner, after) = rest.split_once(')')?;
            let (before, kind) = inner.split_once(" as ")?;
            path(before.trim(), &mut steps)?;
            steps.push(Step::As(name(kind)?));
            if !after.is_empty() {
                path(after.strip_prefix('.')?, &mut steps)?;
            }
        }
    }
    let root = match steps.first() {
        Some(Step::Member("%resource")) => Root::Resource,
        Some(Step::Member(kind)) if kind.starts_with(|c: char| c.is_ascii_uppercase()) => Root::Type(kind),
        _ => Root::Here,
    };
    if root != Root::Here {
        steps.remove(0);
    }
    Some(Branch { root, steps, exists: false })
}

/// Reads `name.function(argument).name[0]…`.
fn path(text: &'static str, steps: &mut Vec<Step>) -> Option<()> {
    let mut rest = text;
    loop {
        let end = rest.find(['.', '(', '[']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if let Some(open) = rest.strip_prefix('(') {
            let (argument, after) = closed(open)?;
            steps.push(function(word, argument)?);
            rest = after;
        } else {
            steps.push(Step::Member(word.strip_prefix('%').map_or_else(|| name(word), |n| name(n).map(|_| word))?));
        }
        if let Some(open) = rest.strip_prefix('[') {
            let (index, after) = open.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        }
        if rest.is_empty() {
            return Some(());
        }
        rest = rest.strip_prefix('.')?;
    }
}

/// What stands before the parenthesis that closes, and what after it.
fn closed(text: &'static str) -> Option<(&'static str, &'static str)> {
    let mut open = 1;
    let at = text.find(|c| {
        open += i32::from(c == '(') - i32::from(c == ')');
        open == 0
    })?;
    Some((&text[..at], &text[at + 1..]))
}

fn function(word: &str, argument: &'static str) -> Option<Step> {
    match word {
        "as" | "ofType" => name(argument).map(Step::As),
        "where" => match argument.strip_prefix("resolve() is ") {
            Some(kind) => name(kind).map(Step::Refers),
            None => {
                let (member, literal) = argument.split_once('=')?;
                let text = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?;
                Some(Step::Equals(name(member.trim())?, text))
            }
        },
        _ => None,
    }
}

fn name(text: &'static str) -> Option<&'static str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(text)
}
