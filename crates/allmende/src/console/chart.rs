//! The accuracy curve and the confusion table, drawn without script or inline style.

use maud::{Markup, html};

use super::format::number;
use super::text::Lang;
use crate::view::{ConfusionView, CurvePoint};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 58.0;
/// Points with a dot of their own; more would run into each other.
const MAX_DOTS: usize = 40;
/// Classes in a confusion table; a larger one is only summed up.
const MAX_CLASSES: u32 = 40;

fn share(point: &CurvePoint) -> f64 {
    if point.total == 0 { 0.0 } else { point.correct as f64 / point.total as f64 }
}

/// Accuracy by round.
pub fn curve(points: &[CurvePoint], rounds: u32, lang: Lang) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    let rounds = rounds.max(last.round).max(1);
    let lowest = points.iter().map(share).fold(1.0, f64::min);
    // The scale begins at a whole tenth below the lowest point, and is labelled so.
    let floor = ((lowest * 10.0).floor() / 10.0).clamp(0.0, 0.9);
    let x = |round: u32| LEFT + (WIDTH - LEFT - RIGHT) * f64::from(round) / f64::from(rounds);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value - floor) / (1.0 - floor));
    let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.round), y(share(p)))).collect();
    let base = HEIGHT - BOTTOM;
    let area = format!("{:.1},{base:.1} {} {:.1},{base:.1}", x(first.round), path.join(" "), x(last.round));
    let lines = match ((1.0 - floor) * 10.0).round() as u32 {
        0..=5 => 0.1,
        _ => 0.2,
    };
    let count = ((1.0 - floor) / lines).round() as u32;
    let ticks: Vec<f64> = (0..=count).map(|i| 1.0 - f64::from(i) * lines).filter(|&v| v >= floor - 1e-9).collect();
    // At most eight labels, so that they stay apart on a phone.
    let every = rounds.div_ceil(8).max(1);
    let title = lang.say("Accuracy by round", "各轮准确率");
    let described = match lang {
        Lang::En => format!(
            "From {} after round {} to {} after round {}, over {} held-out rows.",
            first.accuracy, first.round, last.accuracy, last.round, last.total
        ),
        Lang::Zh => format!(
            "第 {} 轮后为 {}，第 {} 轮后为 {}，共 {} 行留出数据。",
            first.round, first.accuracy, last.round, last.accuracy, last.total
        ),
    };
    html! {
        figure.chart {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby="curve-title curve-text" {
                title id="curve-title" { (title) }
                desc id="curve-text" { (described) }
                @for value in &ticks {
                    line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(format!("{:.1}", y(*value))) y2=(format!("{:.1}", y(*value))) {}
                    text.tick x=(LEFT - 10.0) y=(format!("{:.1}", y(*value) + 5.0)) text-anchor="end" { (format!("{:.0} %", value * 100.0)) }
                }
                @for round in (0..=rounds).filter(|r| r.is_multiple_of(every)) {
                    text.tick x=(format!("{:.1}", x(round))) y=(base + 24.0) text-anchor="middle" { (round) }
                }
                text.axis x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (lang.say("round", "轮次")) }
                polygon.area points=(area) {}
                polyline.line points=(path.join(" ")) {}
                @if points.len() <= MAX_DOTS {
                    @for point in points {
                        circle.dot cx=(format!("{:.1}", x(point.round))) cy=(format!("{:.1}", y(share(point)))) r="3.5" {
                            title { (lang.say("round", "第")) " " (point.round) " " (lang.say("", "轮")) ": " (point.accuracy) }
                        }
                    }
                }
            }
            figcaption { (described) }
        }
    }
}

/// A bar for a share of the whole, with its own text beside it.
pub fn bar(percent: f64) -> Markup {
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="8" {}
            rect.fill width=(format!("{:.2}", percent.clamp(0.0, 100.0))) height="8" {}
        }
    }
}

/// True class by predicted class, shaded by the share of the true class's rows.
pub fn confusion(view: &ConfusionView, lang: Lang) -> Markup {
    let merged = match lang {
        Lang::En => format!(
            "{} rows stand in cells that some node merged because they held fewer than five rows.",
            number(view.merged)
        ),
        Lang::Zh => format!("{} 行所在的格子因某节点不足五行而被合并。", number(view.merged)),
    };
    if view.classes > MAX_CLASSES {
        return html! { p.muted { (lang.say("Too many classes for a table.", "类别过多，不列表。")) " " (merged) } };
    }
    let rows = |truth: u32, predicted: u32| {
        view.cells.iter().find(|c| c.truth == truth && c.predicted == predicted).map_or(0, |c| c.rows)
    };
    let caption = lang
        .say("Rows by true class (down) and predicted class (across)", "按真实类别（纵）与预测类别（横）统计的行数");
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table.confusion {
                caption { span { (caption) } }
                thead { tr { td {} @for predicted in 0..view.classes { th scope="col" { (predicted) } } } }
                tbody {
                    @for truth in 0..view.classes {
                        @let all: u64 = (0..view.classes).map(|p| rows(truth, p)).sum();
                        tr {
                            th scope="row" { (truth) }
                            @for predicted in 0..view.classes {
                                @let count = rows(truth, predicted);
                                // Ten steps of shade; the number itself is always there.
                                @let step = if count == 0 { 0 } else { 1 + count.saturating_mul(9) / all.max(1) };
                                @let side = if truth == predicted { "right" } else { "wrong" };
                                td class={ (side) " h" (step.min(10)) } {
                                    @if count > 0 { (number(count)) } @else { span.none { "·" } }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if view.merged > 0 { p.muted { (merged) } }
    }
}
