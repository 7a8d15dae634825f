//! The tensors of a safetensors file as a table.

use allmende_formats::safetensors::{Summary, TensorInfo};
use maud::{Markup, html};

use super::list::cut;
use super::{Visit, bytes};
use crate::app::App;
use crate::console::format::{number, table};
use crate::content::file::File;
use crate::content::{ContentError, tensors};
use crate::error::ApiError;

/// Tensors on a page.
const PAGE: usize = 200;
/// Entries of the metadata that are shown.
const MAX_METADATA: usize = 30;

/// Type and shape in one line.
pub(super) fn form(tensor: &TensorInfo) -> String {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    format!("{} [{}]", tensor.dtype.as_str(), shape.join(" × "))
}

/// The tensors of a file from the one at `from` on, or why they cannot be read.
pub(super) async fn render(app: &App, visit: &Visit, file: &File, from: usize) -> Result<Markup, ApiError> {
    let say = |en, zh| visit.say(en, zh);
    let layout = match tensors::layout(app, file).await {
        Ok(layout) => layout,
        Err(ContentError::NotUnderstood(why)) => {
            return Ok(html! { div.notice.bad { p lang="en" { (cut(&why, 500)) } } });
        }
        Err(error) => return Err(error.into()),
    };
    visit.note(app, layout.header_bytes);
    let mut whole = Summary::default();
    whole.add(&layout);
    let count = layout.tensors.len();
    let from = from.min(count);
    let next = (from + PAGE).min(count);
    Ok(html! {
        div.figures {
            div { span.big { (number(whole.total())) } span.label { (say("parameters", "参数")) } }
            div { span.big { (number(count as u64)) } span.label { (say("tensors", "张量")) } }
            div { span.big { (whole.parameters.keys().cloned().collect::<Vec<_>>().join(", ")) } span.label { (say("types", "类型")) } }
        }
        (table(say("Tensors, in the order of the file", "张量，按文件顺序"),
            &html! { th scope="col" { (say("Name", "名称")) } th scope="col" { (say("Type and shape", "类型与形状")) } th.num scope="col" { (say("Parameters", "参数")) } th.num scope="col" { (say("Bytes", "字节")) } },
            &html! { @for tensor in &layout.tensors[from..next] { tr {
                th scope="row" { code { (tensor.name) } }
                td { (form(tensor)) } td.num { (number(tensor.elements())) } td.num { (bytes(tensor.size_bytes())) }
            } } }))
        @if next < count { p.pager { a href=(format!("?from={next}")) { (say("More", "更多")) } " " span.muted { (next) " / " (count) } } }
        @if !layout.metadata.is_empty() {
            details { summary { (say("Metadata", "元数据")) }
                dl.facts { @for (key, value) in layout.metadata.iter().take(MAX_METADATA) { div { dt { (cut(key, 100)) } dd { (cut(value, 1_000)) } } } }
            }
        }
    })
}
