//! The difference between the tensors of two revisions, down to how many of their bytes changed.

use std::collections::{BTreeMap, BTreeSet};

use allmende_formats::safetensors::{Difference, TensorInfo, compare};
use bytes::{Buf as _, Bytes};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;

use super::file::File;
use super::{ContentError, tensors};
use crate::app::App;
use crate::git::tree::Entry;
use crate::git::{GitRepo, Oid};
use crate::repo::Repo;

/// Most bytes of each revision that are compared for one page.
pub const MAX_PAGE_BYTES: u64 = 128 << 20;
/// Most tensors of one page.
pub const MAX_PAGE: usize = 1_000;
/// Most tensors in all files that differ, of each revision.
const MAX_TENSORS: usize = 500_000;
/// Most files that differ.
const MAX_FILES: usize = 1_000;

/// A tensor and the file that it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which of the files that differ, of its revision.
    pub file: usize,
    /// The tensor.
    pub tensor: TensorInfo,
}

/// One tensor in both revisions, or in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// As it was.
    pub base: Option<Placed>,
    /// As it is.
    pub head: Option<Placed>,
}

impl Pair {
    fn key(&self) -> (&str, usize) {
        let placed = self.head.as_ref().or(self.base.as_ref());
        placed.map_or(("", 0), |placed| (placed.tensor.name.as_str(), placed.file))
    }

    /// Both, if shape and type are the same.
    #[must_use]
    pub fn alike(&self) -> Option<(&Placed, &Placed)> {
        let both = self.base.as_ref().zip(self.head.as_ref());
        both.filter(|(a, b)| a.tensor.dtype == b.tensor.dtype && a.tensor.shape == b.tensor.shape)
    }
}

/// Brings the tensors of two revisions together: those of one path by name, and what is left over by name alone, as where a
/// model was cut into files anew. `base` and `head` hold the tensors of each file; `paths` says which files are one path.
#[must_use]
pub fn pair(base: &[Vec<TensorInfo>], head: &[Vec<TensorInfo>], paths: &[(Option<usize>, Option<usize>)]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let (mut gone, mut new) = (BTreeMap::<String, Vec<Placed>>::new(), BTreeMap::<String, Vec<Placed>>::new());
    for (old, now) in paths {
        let of = |files: &'_ [Vec<TensorInfo>], at: Option<usize>| at.and_then(|at| files.get(at)).cloned();
        let (before, after) = (of(base, *old).unwrap_or_default(), of(head, *now).unwrap_or_default());
        let placed = |file: Option<usize>, tensor: &TensorInfo| Placed {
            file: file.unwrap_or_default(),
            tensor: tensor.clone(),
        };
        for difference in compare(&before, &after) {
            match difference {
                Difference::Added(t) => new.entry(t.name.clone()).or_default().push(placed(*now, t)),
                Difference::Removed(t) => gone.entry(t.name.clone()).or_default().push(placed(*old, t)),
                Difference::Alike(a, b) | Difference::Reshaped(a, b) => {
                    pairs.push(Pair { base: Some(placed(*old, a)), head: Some(placed(*now, b)) });
                }
            }
        }
    }
    for (name, mut after) in new {
        let before = gone.get_mut(&name);
        match before {
            // By name alone only where the name says which.
            Some(before) if before.len() == 1 && after.len() == 1 => {
                pairs.push(Pair { base: before.pop(), head: after.pop() });
            }
            _ => pairs.extend(after.into_iter().map(|placed| Pair { base: None, head: Some(placed) })),
        }
    }
    pairs.extend(gone.into_values().flatten().map(|placed| Pair { base: Some(placed), head: None }));
    pairs.sort_by(|a, b| a.key().cmp(&b.key()));
    pairs
}

/// The safetensors files that differ between two revisions, and their tensors brought together.
#[derive(Debug)]
pub struct Compared {
    /// The files of the first revision that are not so in the second, and where their payloads begin.
    pub base: Vec<(File, u64)>,
    /// The same the other way round.
    pub head: Vec<(File, u64)>,
    /// Files that are the same in both.
    pub unchanged_files: u64,
    /// Their tensors.
    pub pairs: Vec<Pair>,
}

async fn entries(git: &GitRepo, commit: Oid) -> Result<BTreeMap<String, Entry>, ContentError> {
    let mut entries = git.tree(commit, None, true).await?;
    entries.retain(|entry| entry.path.ends_with(".safetensors"));
    Ok(entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect())
}

/// A side of the comparison while it is put together.
#[derive(Default)]
struct Side {
    files: Vec<(File, u64)>,
    tensors: Vec<Vec<TensorInfo>>,
    count: usize,
}

impl Side {
    async fn take(
        &mut self,
        app: &App,
        repo: &Repo,
        git: &GitRepo,
        entry: Option<&Entry>,
    ) -> Result<Option<usize>, ContentError> {
        let Some(entry) = entry else { return Ok(None) };
        let mut entry = [entry.clone()];
        git.pointers(&mut entry).await?;
        let [entry] = entry;
        let Some(file) = File::of(app, repo, git, &entry).await? else { return Ok(None) };
        let layout = tensors::layout(app, &file).await?;
        self.count += layout.tensors.len();
        if self.files.len() >= MAX_FILES || self.count > MAX_TENSORS {
            let text = format!("the revisions differ in more than {MAX_FILES} files or {MAX_TENSORS} tensors");
            return Err(ContentError::NotUnderstood(text));
        }
        self.files.push((file, layout.header_bytes));
        self.tensors.push(layout.tensors);
        Ok(Some(self.files.len() - 1))
    }
}

/// Compares the headers of all safetensors files that differ between two commits.
///
/// # Errors
/// [`ContentError::NotUnderstood`] when one is no safetensors file, or there are too many.
pub async fn headers(app: &App, repo: &Repo, git: &GitRepo, base: Oid, head: Oid) -> Result<Compared, ContentError> {
    let (old, new) = (entries(git, base).await?, entries(git, head).await?);
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let (mut before, mut after, mut paths, mut unchanged_files) = (Side::default(), Side::default(), Vec::new(), 0);
    for path in all {
        let (a, b) = (old.get(path), new.get(path));
        if a.zip(b).is_some_and(|(a, b)| a.oid == b.oid) {
            unchanged_files += 1;
            continue;
        }
        paths.push((before.take(app, repo, git, a).await?, after.take(app, repo, git, b).await?));
    }
    let pairs = pair(&before.tensors, &after.tensors, &paths);
    Ok(Compared { base: before.files, head: after.files, unchanged_files, pairs })
}

/// How many bytes of a tensor differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytewise {
    /// Bytes that were compared, from the first.
    pub compared: u64,
    /// Those of them that differ.
    pub differing: u64,
}

/// Two streams that are compared piece by piece.
struct Streams {
    base: BoxStream<'static, Result<Bytes, ContentError>>,
    head: BoxStream<'static, Result<Bytes, ContentError>>,
}

impl Streams {
    async fn count(mut self) -> Result<Bytewise, ContentError> {
        let (mut a, mut b, mut found) = (Bytes::new(), Bytes::new(), Bytewise { compared: 0, differing: 0 });
        loop {
            if a.is_empty() {
                a = self.base.try_next().await?.unwrap_or_default();
            }
            if b.is_empty() {
                b = self.head.try_next().await?.unwrap_or_default();
            }
            let both = a.len().min(b.len());
            if both == 0 {
                return Ok(found);
            }
            found.compared += both as u64;
            // Whole pieces that are equal are by far the most.
            if a[..both] != b[..both] {
                found.differing += a[..both].iter().zip(&b[..both]).filter(|(x, y)| x != y).count() as u64;
            }
            a.advance(both);
            b.advance(both);
        }
    }
}

/// What became of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another shape or type.
    Reshaped,
    /// Its bytes are others.
    Changed(Bytewise),
    /// Its bytes are the same.
    Equal(Bytewise),
    /// As far as its bytes were compared they are the same.
    Unknown(Bytewise),
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Reshaped => "reshaped",
            Self::Changed(_) => "changed",
            Self::Equal(_) => "equal",
            Self::Unknown(_) => "unknown",
        }
    }

    /// How many of its bytes differ, where they were compared.
    #[must_use]
    pub const fn bytes(self) -> Option<Bytewise> {
        match self {
            Self::Changed(bytes) | Self::Equal(bytes) | Self::Unknown(bytes) => Some(bytes),
            Self::Added | Self::Removed | Self::Reshaped => None,
        }
    }
}

/// Some pairs and what became of them.
#[derive(Debug)]
pub struct Page<'a> {
    /// Those that differ, or all that were asked for.
    pub tensors: Vec<(&'a Pair, Fate)>,
    /// How many are equal and not among them.
    pub equal: u64,
    /// The pair that the next page begins with.
    pub next: Option<usize>,
}

impl Page<'_> {
    /// Bytes of each side that stand behind what is shown.
    #[must_use]
    pub fn compared_bytes(&self) -> u64 {
        self.tensors.iter().filter_map(|(_, fate)| fate.bytes()).map(|bytes| bytes.compared).sum()
    }
}

impl Compared {
    /// Compares pairs from `start` on until `limit` of them are to be shown or [`MAX_PAGE_BYTES`] are compared. Those whose
    /// bytes are equal are counted, and shown only if `all` are asked for.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn page(&self, app: &App, start: usize, limit: usize, all: bool) -> Result<Page<'_>, ContentError> {
        let mut page = Page { tensors: Vec::new(), equal: 0, next: None };
        let mut budget = MAX_PAGE_BYTES;
        for (i, pair) in self.pairs.iter().enumerate().skip(start) {
            let needed = pair.alike().map_or(0, |(_, head)| head.tensor.size_bytes());
            // The first of a page is compared however large it is, as far as the page goes.
            if page.tensors.len() == limit || (needed > budget && budget < MAX_PAGE_BYTES) {
                page.next = Some(i);
                break;
            }
            match self.fate(app, pair, &mut budget).await? {
                Fate::Equal(_) if !all => page.equal += 1,
                fate => page.tensors.push((pair, fate)),
            }
        }
        Ok(page)
    }

    async fn fate(&self, app: &App, pair: &Pair, budget: &mut u64) -> Result<Fate, ContentError> {
        let (old, new) = match (pair.alike(), &pair.base, &pair.head) {
            (Some(both), ..) => both,
            (None, Some(_), Some(_)) => return Ok(Fate::Reshaped),
            (None, Some(_), None) => return Ok(Fate::Removed),
            (None, None, _) => return Ok(Fate::Added),
        };
        let found = self.bytewise(app, old, new, *budget).await?;
        *budget = budget.saturating_sub(found.compared);
        let whole = found.compared == new.tensor.size_bytes();
        Ok(match (found.differing, whole) {
            (0, true) => Fate::Equal(found),
            (0, false) => Fate::Unknown(found),
            _ => Fate::Changed(found),
        })
    }

    /// Compares the bytes of a pair that is alike, at most `budget` of them.
    ///
    /// # Errors
    /// [`ContentError`].
    async fn bytewise(&self, app: &App, base: &Placed, head: &Placed, budget: u64) -> Result<Bytewise, ContentError> {
        let open = async |files: &[(File, u64)], placed: &Placed| {
            let missing = || ContentError::NotFound("a file that was compared is gone".to_owned());
            let (file, payload) = files.get(placed.file).ok_or_else(missing)?;
            let start = payload + placed.tensor.start;
            file.stream(app, start..start + placed.tensor.size_bytes().min(budget)).await
        };
        let streams = Streams { base: open(&self.base, base).await?, head: open(&self.head, head).await? };
        streams.count().await
    }
}

#[cfg(test)]
mod tests {
    use allmende_formats::safetensors::Dtype;
    use futures::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    fn tensor(name: &str, elements: u64) -> TensorInfo {
        TensorInfo { name: name.to_owned(), dtype: Dtype::U8, shape: vec![elements], start: 0, end: elements }
    }

    #[test]
    fn tensors_are_found_again_in_other_files() {
        let base = [vec![tensor("a", 1), tensor("b", 2)]];
        let head = [vec![tensor("a", 1)], vec![tensor("b", 2), tensor("c", 3)]];
        // The one file was cut in two.
        let pairs = pair(&base, &head, &[(Some(0), None), (None, Some(0)), (None, Some(1))]);
        let places: Vec<_> =
            pairs.iter().map(|p| (p.key().0, p.base.is_some(), p.head.as_ref().map(|h| h.file))).collect();
        assert_eq!(places, [("a", true, Some(0)), ("b", true, Some(1)), ("c", false, Some(1))]);
        assert!(pairs[0].alike().is_some() && pairs[2].alike().is_none());
    }

    #[test]
    fn one_name_twice_is_brought_together_by_path_alone() {
        let twice = [vec![tensor("a", 1)], vec![tensor("a", 1)]];
        let pairs = pair(&twice, &twice, &[(Some(0), None), (Some(1), None), (None, Some(0)), (None, Some(1))]);
        assert_eq!(pairs.len(), 4);
        assert_eq!(pair(&twice, &twice, &[(Some(0), Some(0)), (Some(1), Some(1))]).len(), 2);
    }

    proptest! {
        #[test]
        fn bytes_are_counted_in_any_pieces(
            bytes in prop::collection::vec(any::<(u8, u8)>(), 0..200), a in 1_usize..50, b in 1_usize..50,
        ) {
            let (base, head): (Vec<u8>, Vec<u8>) = bytes.iter().copied().unzip();
            let differing = bytes.iter().filter(|(a, b)| a != b).count() as u64;
            let cut = |bytes: Vec<u8>, piece: usize| {
                let pieces: Vec<_> = bytes.chunks(piece).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
                futures::stream::iter(pieces).boxed()
            };
            let compared = bytes.len() as u64;
            let streams = Streams { base: cut(base, a), head: cut(head, b) };
            let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(streams.count()).unwrap();
            prop_assert_eq!(found, Bytewise { compared, differing });
        }
    }
}
