//! Plots as SVG for a page: drawn for a width of 360 (a small phone), grown with the page, coloured by its style sheet, and read aloud by titles.

use std::fmt::Write;

/// Text for HTML and SVG: nothing in it is markup.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Units of the drawing's width.
const WIDTH: f64 = 360.0;

/// From values to places, straight or by their logarithms.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    log: bool,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Over the values, with some room around them; by logarithms when they lie far apart. Places run from `start` to `end`.
    pub fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Scale {
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let log = least > 0.0 && most / least > 20.0;
        let (a, b) = if log { (least.ln(), most.ln()) } else { (least, most) };
        let room = if b > a { 0.08 * (b - a) } else { 0.1 * a.abs().max(1e-9) };
        Scale { log, from: a - room, to: b + room, start, end }
    }

    /// From 0 to 1.
    pub fn part(start: f64, end: f64) -> Scale {
        Scale { log: false, from: 0.0, to: 1.0, start, end }
    }

    /// The place of a value.
    pub fn at(&self, value: f64) -> f64 {
        let x = if self.log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        self.start + (x - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// Three to eight round values in the range, and their texts.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks: Vec<f64> = vec![];
        if self.log {
            let (first, last) = ((self.from / std::f64::consts::LN_10).floor() as i32, (self.to / std::f64::consts::LN_10).ceil() as i32);
            let each: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            for power in first..=last {
                ticks.extend(each.iter().map(|m| m * 10f64.powi(power)));
            }
            ticks.retain(|t| (self.from..=self.to).contains(&t.ln()));
        } else {
            let rough = (self.to - self.from) / 5.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough).unwrap_or(10.0);
            let first = (self.from / step).ceil() as i64;
            ticks.extend((first..).take(12).map(|i| i as f64 * step).take_while(|t| *t <= self.to));
        }
        ticks.into_iter().map(|t| (t, number(t))).collect()
    }
}

/// As few digits as say it.
pub fn number(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let digits = (2 - x.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{x:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// The beginning of a drawing: its title and description are what is read aloud.
fn begin(id: &str, height: f64, title: &str, description: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\n<title id=\"{id}-title\">{}</title>\n\
         <desc id=\"{id}-description\">{}</desc>\n",
        escaped(title),
        escaped(description)
    )
}

/// A mark of a model, so that no one has to tell colours apart: eight shapes.
fn mark(series: usize, x: f64, y: f64, class: &str, title: &str) -> String {
    let r = 4.5;
    let path = match series % 8 {
        0 => format!("M{:.1} {y:.1}a{r} {r} 0 1 0 {:.1} 0a{r} {r} 0 1 0 {:.1} 0z", x - r, 2.0 * r, -2.0 * r),
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5 9h-10z", y - 5.5),
        3 => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", y - 5.5),
        4 => format!("M{x:.1} {:.1}l5 -9h-10z", y + 5.5),
        5 => format!("M{:.1} {:.1}h3v-3h3v3h3v3h-3v3h-3v-3h-3z", x - 4.5, y - 1.5),
        6 => format!("M{:.1} {:.1}h10v5h-10z", x - 5.0, y - 2.5),
        _ => format!("M{:.1} {:.1}h5v10h-5z", x - 2.5, y - 5.0),
    };
    format!("<path class=\"s{} {class}\" d=\"{path}\"><title>{}</title></path>\n", series % 8, escaped(title))
}

/// A mark by itself, for a legend or a table.
pub fn legend(series: usize) -> String {
    format!("<svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">{}</svg>", mark(series, 7.0, 7.0, "", ""))
}

/// A model in a plot of quality against size.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which, from 0: its mark, and its number less one.
    pub series: usize,
    /// For its title.
    pub title: String,
    /// Size.
    pub x: f64,
    /// Quality.
    pub y: f64,
    /// Its standard error.
    pub stderr: Option<f64>,
}

/// Which points no other is both as small and as good as, from the smallest on.
pub fn frontier(points: &[Point], more_is_better: bool) -> Vec<usize> {
    let better = |a: f64, b: f64| if more_is_better { a > b } else { a < b };
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&i, &j| {
        let (a, b) = (&points[i], &points[j]);
        let quality = if more_is_better { b.y.total_cmp(&a.y) } else { a.y.total_cmp(&b.y) };
        a.x.total_cmp(&b.x).then(quality)
    });
    let mut kept: Vec<usize> = vec![];
    for i in order {
        if kept.last().is_none_or(|&best| better(points[i].y, points[best].y)) {
            kept.push(i);
        }
    }
    kept
}

/// What the axes and the drawing are called.
pub struct Names<'a> {
    /// For ids.
    pub id: &'a str,
    /// Of the plot.
    pub title: &'a str,
    /// Below.
    pub x: &'a str,
    /// At the left.
    pub y: &'a str,
}

/// Quality against size, with the frontier.
pub fn scatter(points: &[Point], more_is_better: bool, names: &Names) -> String {
    let (left, right, top, bottom, height) = (50.0, WIDTH - 14.0, 26.0, 214.0, 252.0);
    let x = Scale::new(points.iter().map(|p| p.x), left, right);
    let spread = points.iter().flat_map(|p| [p.y - p.stderr.unwrap_or(0.0), p.y + p.stderr.unwrap_or(0.0)]);
    let y = Scale::new(spread, bottom, top);
    let kept = frontier(points, more_is_better);
    let on: Vec<&str> = kept.iter().map(|&i| points[i].title.as_str()).collect();
    let way = if more_is_better { "higher is better" } else { "lower is better" };
    let mut svg =
        begin(names.id, height, names.title, &format!("{}; {way}. On the frontier, from the smallest: {}.", names.title, on.join("; ")));
    axes(&mut svg, &x, &y, (left, right, top, bottom));
    let _ = writeln!(
        svg,
        "<text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        (left + right) / 2.0,
        height - 6.0,
        escaped(names.x)
    );
    let _ = writeln!(svg, "<text class=\"axis\" x=\"4\" y=\"14\">{} ({way})</text>", escaped(names.y));
    let mut path = String::new();
    for (n, &i) in kept.iter().enumerate() {
        let (px, py) = (x.at(points[i].x), y.at(points[i].y));
        // A step: as good as the smaller one until the larger one is reached.
        let _ = if n == 0 { write!(path, "M{px:.1} {py:.1}") } else { write!(path, "H{px:.1}V{py:.1}") };
    }
    let _ = writeln!(svg, "<path class=\"frontier\" d=\"{path}H{right:.1}\"/>");
    let mut taken: Vec<(f64, f64)> = points.iter().map(|p| (x.at(p.x), y.at(p.y))).collect();
    for (i, point) in points.iter().enumerate() {
        let (px, py) = (x.at(point.x), y.at(point.y));
        if let Some(se) = point.stderr.filter(|se| *se > 0.0) {
            let _ = writeln!(svg, "<path class=\"whisker\" d=\"M{px:.1} {:.1}V{:.1}\"/>", y.at(point.y - se), y.at(point.y + se));
        }
        svg.push_str(&mark(point.series, px, py, if kept.contains(&i) { "" } else { "off" }, &point.title));
        let places = [(9.0, -6.0), (-9.0, -6.0), (9.0, 12.0), (-9.0, 12.0), (0.0, -11.0), (0.0, 17.0), (16.0, 3.0), (-16.0, 3.0)];
        let free = |&(dx, dy): &(f64, f64)| {
            let (lx, ly) = (px + dx, py + dy - 4.0);
            lx > left && lx < right && taken.iter().all(|(tx, ty)| (tx - lx).abs() > 8.0 || (ty - ly).abs() > 8.0)
        };
        let (dx, dy) = places.iter().copied().find(|place| free(place)).unwrap_or(places[0]);
        taken.push((px + dx, py + dy - 4.0));
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            px + dx,
            py + dy,
            point.series + 1
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, x: &Scale, y: &Scale, (left, right, top, bottom): (f64, f64, f64, f64)) {
    let mut last = f64::NEG_INFINITY;
    for (value, text) in x.ticks() {
        let at = x.at(value);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>");
        if at - last > 34.0 {
            let _ = writeln!(svg, "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", bottom + 13.0);
            last = at;
        }
    }
    for (value, text) in y.ticks() {
        let at = y.at(value);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>");
        let _ = writeln!(svg, "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", left - 4.0, at + 3.5);
    }
}

/// Rows of marks between 0 and 100 %.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Series, value from 0 to 1, standard error, title.
    pub marks: Vec<(usize, f64, Option<f64>, String)>,
}

/// A row each, all on one scale.
pub fn dots(rows: &[Row], names: &Names) -> String {
    const EACH: f64 = 17.0;
    let (left, right, top) = (128.0, WIDTH - 18.0, 24.0);
    let bottom = top + EACH * rows.len() as f64;
    let x = Scale::part(left, right);
    let mut svg =
        begin(names.id, bottom + 20.0, names.title, &format!("{}: {} rows; the numbers are in the table below.", names.title, rows.len()));
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = x.at(tick);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom:.0}\"/>");
        for y in [top - 6.0, bottom + 13.0] {
            let _ = writeln!(svg, "<text class=\"tick\" x=\"{at:.1}\" y=\"{y:.0}\" text-anchor=\"middle\">{:.0} %</text>", 100.0 * tick);
        }
    }
    for (i, row) in rows.iter().enumerate() {
        let y = top + EACH * (i as f64 + 0.5);
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 3.5,
            escaped(&row.name)
        );
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>");
        for (k, (series, value, stderr, title)) in row.marks.iter().enumerate() {
            // A little below one another, so that equal ones are all seen.
            let count = row.marks.len() as f64;
            let y = y + (k as f64 - (count - 1.0) / 2.0) * (9.0 / count).min(2.5);
            if let Some(se) = stderr.filter(|se| *se > 0.0) {
                let _ = writeln!(
                    svg,
                    "<path class=\"whisker\" d=\"M{:.1} {y:.1}H{:.1}\"/>",
                    x.at((value - se).max(0.0)),
                    x.at((value + se).min(1.0))
                );
            }
            svg.push_str(&mark(*series, x.at(*value), y, "see", title));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A kind of tensor in all layers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Band {
    /// Its name.
    pub name: String,
    /// By layer: the error and its title, where there is such a tensor.
    pub cells: Vec<Option<(f64, String)>>,
}

/// Cells of layers and kinds of tensors, darker where the error is larger.
pub fn heat(rows: &[Band], range: (f64, f64), names: &Names) -> String {
    const EACH: f64 = 16.0;
    let layers = rows.iter().map(|band| band.cells.len()).max().unwrap_or(0).max(1);
    let (left, right, top) = (92.0, WIDTH - 8.0, 8.0);
    let width = ((right - left) / layers as f64).min(24.0);
    let bottom = top + EACH * rows.len() as f64;
    let description =
        format!("{}: relative error from {} to {}; the numbers are in the table below.", names.title, number(range.0), number(range.1));
    let mut svg = begin(names.id, bottom + 42.0, names.title, &description);
    let strength = |value: f64| {
        let (a, b) = (range.0.max(1e-12).ln(), range.1.max(1e-12).ln());
        let part = if b > a { (value.max(1e-12).ln() - a) / (b - a) } else { 1.0 };
        0.08 + 0.92 * part.clamp(0.0, 1.0)
    };
    for (i, Band { name, cells }) in rows.iter().enumerate() {
        let y = top + EACH * i as f64;
        let _ = writeln!(
            svg,
            "<text class=\"tick\" x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + EACH - 4.5,
            escaped(name)
        );
        for (layer, cell) in cells.iter().enumerate() {
            let Some((value, title)) = cell else { continue };
            let _ = writeln!(
                svg,
                "<rect class=\"heat\" x=\"{:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{:.1}\" fill-opacity=\"{:.2}\"><title>{}</title></rect>",
                left + width * layer as f64,
                y,
                (width - 0.5).max(0.5),
                EACH - 1.0,
                strength(*value),
                escaped(title)
            );
        }
    }
    let every = (30.0 / width).ceil().max(1.0) as usize;
    for layer in (0..layers).step_by(every) {
        let x = left + width * (layer as f64 + 0.5);
        let _ = writeln!(svg, "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{layer}</text>", bottom + 12.0);
    }
    let _ = writeln!(svg, "<text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\">layer</text>", 4.0, bottom + 12.0);
    for step in 0..5 {
        let value = (range.0.max(1e-12).ln() + f64::from(step) / 4.0 * (range.1.max(1e-12) / range.0.max(1e-12)).ln()).exp();
        let x = left + f64::from(step) * 52.0;
        let _ = writeln!(
            svg,
            "<rect class=\"heat\" x=\"{x:.0}\" y=\"{:.0}\" width=\"12\" height=\"12\" fill-opacity=\"{:.2}\"/>\
             <text class=\"tick\" x=\"{:.0}\" y=\"{:.0}\">{value:.1e}</text>",
            bottom + 22.0,
            strength(value),
            x + 15.0,
            bottom + 32.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(series: usize, x: f64, y: f64) -> Point {
        Point { series, title: format!("model {series}"), x, y, stderr: Some(0.1) }
    }

    #[test]
    fn the_frontier_has_what_nothing_is_both_smaller_and_better_than() {
        let points =
            [point(0, 8.0, 1.0), point(1, 4.0, 2.0), point(2, 5.0, 3.0), point(3, 2.0, 9.0), point(4, 2.0, 8.0), point(5, 9.0, 1.0)];
        // Less is better: of the two smallest the better one, then what improves.
        assert_eq!(frontier(&points, false), [4, 1, 0]);
        assert_eq!(frontier(&points, true), [3]);
        assert!(frontier(&[], true).is_empty());
    }

    #[test]
    fn scales_have_round_ticks_within() {
        for values in [vec![3.0, 4.0], vec![0.001, 0.4], vec![5.0], vec![0.0, 0.0], vec![1e-9, 1e9], vec![-2.0, 7.5]] {
            let scale = Scale::new(values.iter().copied(), 10.0, 90.0);
            let ticks = scale.ticks();
            assert!(!ticks.is_empty() && ticks.len() <= 24, "{values:?}: {ticks:?}");
            for x in ticks.iter().map(|(x, _)| *x).chain(values.iter().copied()) {
                assert!((9.99..=90.01).contains(&scale.at(x)), "{values:?}: {x} at {}", scale.at(x));
            }
        }
        assert_eq!([number(0.25), number(1.0), number(1234.0), number(0.001), number(-0.05)], ["0.25", "1", "1234", "0.001", "-0.05"]);
    }

    #[test]
    fn names_are_no_markup() {
        assert_eq!(escaped("<a href='x'>&\"\u{1b}"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}");
        let names = Names { id: "p", title: "<b>", x: "<x>", y: "<y>" };
        let svg = scatter(&[Point { title: "<script>".into(), ..point(0, 1.0, 1.0) }], true, &names);
        assert!(!svg.contains("<script>") && !svg.contains("<b>") && svg.contains("&lt;script&gt;"), "{svg}");
    }
}
