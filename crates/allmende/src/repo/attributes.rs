//! Which files are large: the lines of `.gitattributes` that git-lfs reads too.

use super::Kind;
use crate::git::RepoPath;

/// Where the lines stand.
pub const PATH: &str = ".gitattributes";
/// A file of more bytes is large, whatever it is called.
pub const LARGE_BYTES: u64 = 10 << 20;
/// Most bytes of `.gitattributes` that are looked at.
pub const MAX_BYTES: usize = 1 << 20;

/// Endings of files that hold weights, archives, or columns of data.
const ENDINGS: &[&str] = &[
    "7z",
    "arrow",
    "bin",
    "bz2",
    "ckpt",
    "ftz",
    "gguf",
    "gz",
    "h5",
    "joblib",
    "lfs.*",
    "mlmodel",
    "model",
    "msgpack",
    "npy",
    "npz",
    "onnx",
    "ot",
    "parquet",
    "pb",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "rar",
    "safetensors",
    "tar",
    "tar.*",
    "tflite",
    "tgz",
    "wasm",
    "xz",
    "zip",
    "zst",
];
/// And of those that hold data's sounds and pictures.
const MEDIA: &[&str] = &[
    "aac", "avif", "bmp", "flac", "gif", "jpeg", "jpg", "lz4", "mds", "mkv", "mp3", "mp4", "ogg", "pcm", "png", "sam",
    "raw", "tiff", "wav", "webm", "webp",
];

/// What a new repository begins with.
#[must_use]
pub fn initial(kind: Kind) -> String {
    let media: &[&str] = if kind == Kind::Dataset { MEDIA } else { &[] };
    let line = |pattern: &str| format!("{pattern} filter=lfs diff=lfs merge=lfs -text\n");
    let mut lines: String = ENDINGS.iter().chain(media).map(|ending| line(&format!("*.{ending}"))).collect();
    lines.push_str(&line("saved_model/**/*"));
    lines.push_str(&line("*tfevents*"));
    lines
}

/// Whether `path` is large by the lines of `attributes`; the last line that speaks of it counts.
#[must_use]
pub fn is_large(attributes: &str, path: &RepoPath) -> bool {
    let mut large = false;
    for line in attributes.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(pattern) = words.next().filter(|p| !p.starts_with('#')) else { continue };
        let mut says = words.filter_map(|word| match word {
            "filter=lfs" => Some(true),
            "-filter" | "!filter" => Some(false),
            _ => None,
        });
        if let Some(says) = says.next_back()
            && matches(pattern, path.as_str())
        {
            large = says;
        }
    }
    large
}

/// Whether the lines of a `.gitignore` leave `path` out; the last line that speaks of it counts.
#[must_use]
pub fn is_ignored(lines: &str, path: &RepoPath) -> bool {
    let mut ignored = false;
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, says) = line.strip_prefix('!').map_or((line, true), |rest| (rest, false));
        let only_folders = pattern.ends_with('/');
        // A folder that is left out takes along everything below it.
        let ends =
            path.as_str().match_indices('/').map(|(i, _)| i).chain((!only_folders).then_some(path.as_str().len()));
        let pattern = pattern.trim_end_matches('/');
        if ends.into_iter().any(|end| matches(pattern, &path.as_str()[..end])) {
            ignored = says;
        }
    }
    ignored
}

/// Whether git's pattern speaks of `path`: one without a slash speaks of names, others of whole paths.
fn matches(pattern: &str, path: &str) -> bool {
    if !pattern.trim_end_matches('/').contains('/') {
        let name = path.rsplit('/').next().unwrap_or(path);
        return glob(pattern.as_bytes(), name.as_bytes());
    }
    glob(pattern.trim_start_matches('/').as_bytes(), path.as_bytes())
}

/// `*` stands for any characters but '/', `?` for one, `**` for any at all. Time is bounded by the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // reached[i]: the pattern so far matches the first i bytes of the text.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let star = pattern[at] == b'*';
        let deep = star && pattern.get(at + 1) == Some(&b'*');
        let mut next = vec![false; text.len() + 1];
        if star {
            let mut on = false;
            for i in 0..=text.len() {
                on |= reached[i];
                next[i] = on;
                if text.get(i) == Some(&b'/') && !deep {
                    on = false;
                }
            }
            // "**/" also stands for nothing at all.
            if deep && pattern.get(at + 2) == Some(&b'/') {
                let mut before = false;
                for i in 0..=text.len() {
                    next[i] = reached[i] || (before && text[i - 1] == b'/');
                    before |= reached[i];
                }
                at += 1;
            }
            at += if deep { 2 } else { 1 };
        } else {
            for i in 0..text.len() {
                let same = pattern[at] == text[i] || (pattern[at] == b'?' && text[i] != b'/');
                next[i + 1] = reached[i] && same;
            }
            at += 1;
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(attributes: &str, path: &str) -> bool {
        is_large(attributes, &path.parse().unwrap())
    }

    #[test]
    fn a_new_repository_knows_weights() {
        let model = initial(Kind::Model);
        for path in [
            "model.safetensors",
            "a/b/c.BIN.gz",
            "x.tar.zst",
            "saved_model/variables/x",
            "saved_model/a",
            "events.tfevents.1",
        ] {
            assert!(large(&model, path), "{path}");
        }
        for path in
            ["README.md", "config.json", "model.safetensors.index.json", "x.png", "saved_model", "not_saved_model/x"]
        {
            assert!(!large(&model, path), "{path}");
        }
        assert!(large(&initial(Kind::Dataset), "images/x.png"));
    }

    #[test]
    fn the_last_line_counts() {
        let lines = "# *.txt filter=lfs\n*.bin filter=lfs -text\nsmall/*.bin -filter\n/top.dat filter=lfs\n";
        assert!(large(lines, "a.bin") && large(lines, "x/a.bin") && !large(lines, "small/a.bin"));
        assert!(large(lines, "small/x/a.bin") && large(lines, "top.dat") && !large(lines, "x/top.dat"));
        assert!(!large(lines, "a.txt") && !large("", "a.bin"));
    }

    #[test]
    fn what_is_left_out() {
        let of = |lines: &str, path: &str| is_ignored(lines, &path.parse().unwrap());
        let lines = "# note\n*.log\nbuild/\n/top.txt\n!keep.log\n";
        for path in ["a.log", "x/b.log", "build/x", "x/build/y/z", "top.txt"] {
            assert!(of(lines, path), "{path}");
        }
        for path in ["keep.log", "x/keep.log", "build", "x/top.txt", "a.txt"] {
            assert!(!of(lines, path), "{path}");
        }
    }

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("a*c", "abbc", true),
            ("a*c", "ab/c", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("**/x", "/y/x", true),
            ("a/**/*", "a/b/c", true),
            ("a/**/c", "ab/c", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/b/c", true),
            ("*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
