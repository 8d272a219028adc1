// Of several parameters the one that cannot cross is named.
struct Point {
    x: f64,
    y: f64,
}

#[proc_pool::task]
fn scaled_length(point: Point, scale: f64) -> f64 {
    point.x.hypot(point.y) * scale
}

fn main() {}
