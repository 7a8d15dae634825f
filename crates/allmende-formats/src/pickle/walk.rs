//! The opcodes of pickle, walked as the loader would, with the depth of its stack and nothing on it.
//!
//! <https://docs.python.org/3/library/pickletools.html>, protocols 0 to 5.

/// What a walk over the beginning of a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// A loader stops here before it could run anything, or there is nothing to load.
    Plain,
    /// A loader would get to the end of a pickle, or to an opcode that runs what was named before.
    Runs,
    /// Nothing is wrong so far, nothing has been run, and there is more of the file.
    Open,
}

/// What stands behind an opcode.
enum Argument {
    None,
    /// So many bytes.
    Fixed(u64),
    /// A length of so many bytes, little-endian, and as many bytes.
    Counted(usize),
    /// A line that must be of this form.
    Line(fn(&[u8]) -> bool),
    /// Two lines: a module and a name in it.
    Names,
}

/// What an opcode does to the stack.
enum Effect {
    /// Needs so many values, takes so many of them, leaves so many.
    Plain { needs: usize, takes: usize, leaves: usize },
    /// Begins a group.
    Mark,
    /// Takes a group that has at least so many values, needs so many below it, leaves so many.
    Group { least: usize, below: usize, leaves: usize },
    /// Takes a value, or a group that is empty.
    Pop,
    /// Ends the pickle.
    Stop,
}

/// What an opcode may do beside the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// Names the protocol.
    Protocol,
    /// Gets something by its name.
    Resolve,
    /// Calls what was resolved.
    Run,
    /// Both.
    ResolveAndRun,
}

fn is_number(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    !text.is_empty()
        && text.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b'+' | b'-' | b'.' | b'_' | b'x' | b'o' | b'L'))
}

fn is_place(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn is_quoted(line: &[u8]) -> bool {
    let text = line.trim_ascii_end();
    matches!(text, [first @ (b'\'' | b'"'), .., last] if first == last)
}

fn is_any(_: &[u8]) -> bool {
    true
}

/// Whether a line can be the name of a module, or of something in it: identifiers with points between them.
fn is_name(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let text = text.strip_suffix('\r').unwrap_or(text);
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '<' | '>'))
}

const fn plain(needs: usize, takes: usize, leaves: usize) -> Effect {
    Effect::Plain { needs, takes, leaves }
}

const fn group(least: usize, below: usize, leaves: usize) -> Effect {
    Effect::Group { least, below, leaves }
}

fn opcode(code: u8) -> Option<(Argument, Effect, Deed)> {
    use Argument::{Counted, Fixed, Line, Names, None as Bare};
    use Deed::{Nothing, Protocol, Resolve, ResolveAndRun, Run};
    let push = || plain(0, 0, 1);
    Some(match code {
        b'(' => (Bare, Effect::Mark, Nothing),
        b'.' => (Bare, Effect::Stop, Nothing),
        b'0' => (Bare, Effect::Pop, Nothing),
        b'1' => (Bare, group(0, 0, 0), Nothing),
        b'2' => (Bare, plain(1, 0, 1), Nothing),
        b'N' | b']' | b'}' | b')' | 0x88 | 0x89 | 0x8f | 0x97 => (Bare, push(), Nothing),
        b'F' | b'I' | b'L' => (Line(is_number), push(), Nothing),
        b'g' => (Line(is_place), push(), Nothing),
        b'p' => (Line(is_place), plain(1, 0, 0), Nothing),
        b'S' => (Line(is_quoted), push(), Nothing),
        b'V' | b'P' => (Line(is_any), push(), Nothing),
        b'K' | b'h' => (Fixed(1), push(), Nothing),
        b'M' => (Fixed(2), push(), Nothing),
        b'J' | b'j' => (Fixed(4), push(), Nothing),
        b'G' => (Fixed(8), push(), Nothing),
        b'q' => (Fixed(1), plain(1, 0, 0), Nothing),
        b'r' => (Fixed(4), plain(1, 0, 0), Nothing),
        b'U' | b'C' | 0x8a | 0x8c => (Counted(1), push(), Nothing),
        b'T' | b'X' | b'B' | 0x8b => (Counted(4), push(), Nothing),
        0x8d | 0x8e | 0x96 => (Counted(8), push(), Nothing),
        b'Q' => (Bare, plain(1, 1, 1), Nothing),
        b'a' => (Bare, plain(2, 1, 0), Nothing),
        b's' => (Bare, plain(3, 2, 0), Nothing),
        b'd' | b'l' | b't' | 0x91 => (Bare, group(0, 0, 1), Nothing),
        b'e' | b'u' | 0x90 => (Bare, group(0, 1, 0), Nothing),
        0x80 => (Fixed(1), plain(0, 0, 0), Protocol),
        0x85 => (Bare, plain(1, 1, 1), Nothing),
        0x86 => (Bare, plain(2, 2, 1), Nothing),
        0x87 => (Bare, plain(3, 3, 1), Nothing),
        0x94 | 0x98 => (Bare, plain(1, 0, 0), Nothing),
        0x95 => (Fixed(8), plain(0, 0, 0), Nothing),
        b'c' => (Names, push(), Resolve),
        0x93 => (Bare, plain(2, 2, 1), Resolve),
        0x82 => (Fixed(1), push(), Resolve),
        0x83 => (Fixed(2), push(), Resolve),
        0x84 => (Fixed(4), push(), Resolve),
        b'R' | 0x81 => (Bare, plain(2, 2, 1), Run),
        0x92 => (Bare, plain(3, 3, 1), Run),
        b'b' => (Bare, plain(2, 1, 0), Run),
        b'o' => (Bare, group(1, 0, 1), Run),
        b'i' => (Names, group(0, 0, 1), ResolveAndRun),
        _ => return None,
    })
}

/// The stack of the loader: how many values lie in each group, the outermost first.
struct Stack(Vec<usize>);

impl Stack {
    fn new() -> Self {
        Self(vec![0])
    }

    fn top(&mut self) -> &mut usize {
        if self.0.is_empty() {
            self.0.push(0);
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// False when the loader would fail.
    fn apply(&mut self, effect: &Effect) -> bool {
        match *effect {
            Effect::Plain { needs, takes, leaves } => {
                let top = self.top();
                if *top < needs {
                    return false;
                }
                *top = *top - takes + leaves;
            }
            Effect::Mark => self.0.push(0),
            Effect::Group { least, below, leaves } => {
                if self.0.len() < 2 {
                    return false;
                }
                let values = self.0.pop().unwrap_or_default();
                let top = self.top();
                if values < least || *top < below {
                    return false;
                }
                *top += leaves;
            }
            Effect::Pop => match (*self.top(), self.0.len()) {
                (0, 1) => return false,
                (0, _) => {
                    self.0.pop();
                }
                _ => *self.top() -= 1,
            },
            Effect::Stop => return *self.top() > 0,
        }
        true
    }
}

/// Where an argument ends, and whether it is one that a loader takes.
enum Ended {
    At(usize),
    /// Beyond what is looked at, and inside the file.
    Beyond,
    Bad,
}

fn line(head: &[u8], at: usize, whole: bool) -> Option<Result<&[u8], Ended>> {
    let rest = head.get(at..)?;
    Some(match rest.iter().position(|&c| c == b'\n') {
        Some(end) => Ok(&rest[..end]),
        None if whole => Err(Ended::Bad),
        None => Err(Ended::Beyond),
    })
}

fn argument(head: &[u8], at: usize, size: u64, argument: &Argument) -> Ended {
    let whole = head.len() as u64 >= size;
    let end_of = |end: u64| match usize::try_from(end) {
        Ok(end) if end <= head.len() => Ended::At(end),
        _ if end <= size => Ended::Beyond,
        _ => Ended::Bad,
    };
    match argument {
        Argument::None => Ended::At(at),
        Argument::Fixed(bytes) => end_of(at as u64 + bytes),
        Argument::Counted(width) => {
            let Some(length) = head.get(at..at + width) else { return end_of((at + width) as u64) };
            let length = length.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
            end_of((at as u64 + *width as u64).saturating_add(length))
        }
        Argument::Line(fits) => match line(head, at, whole) {
            Some(Ok(text)) if fits(text) => Ended::At(at + text.len() + 1),
            Some(Err(ended)) => ended,
            _ => Ended::Bad,
        },
        Argument::Names => {
            let mut at = at;
            for _ in 0..2 {
                match line(head, at, whole) {
                    Some(Ok(text)) if is_name(text) => at += text.len() + 1,
                    Some(Err(ended)) => return ended,
                    _ => return Ended::Bad,
                }
            }
            Ended::At(at)
        }
    }
}

/// Walks the opcodes at the beginning of a file of `size` bytes, of which `head` are the first. Several pickles one after
/// the other are walked through: loaders read them so.
#[must_use]
pub fn walk(head: &[u8], size: u64) -> Walk {
    let (mut stack, mut at) = (Stack::new(), 0);
    let (mut protocol, mut resolved) = (false, false);
    // What says that it is a pickle is one, unless a loader stops before it gets anywhere.
    let open = |protocol: bool| if protocol { Walk::Runs } else { Walk::Open };
    while let Some(&code) = head.get(at) {
        let Some((kind, effect, deed)) = opcode(code) else { return Walk::Plain };
        let next = match argument(head, at + 1, size, &kind) {
            Ended::At(next) => next,
            Ended::Beyond => return open(protocol),
            Ended::Bad => return Walk::Plain,
        };
        if deed == Deed::Protocol {
            if head[at + 1] > 5 {
                return Walk::Plain;
            }
            protocol = true;
        }
        if !stack.apply(&effect) {
            return Walk::Plain;
        }
        resolved |= matches!(deed, Deed::Resolve | Deed::ResolveAndRun);
        let ran = matches!(deed, Deed::Run | Deed::ResolveAndRun) && resolved;
        let stopped = matches!(effect, Effect::Stop);
        if ran || (stopped && (protocol || resolved)) {
            return Walk::Runs;
        }
        if stopped {
            stack = Stack::new();
        }
        at = next;
    }
    if (head.len() as u64) < size { open(protocol) } else { Walk::Plain }
}
