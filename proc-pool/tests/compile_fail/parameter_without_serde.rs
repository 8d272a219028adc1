struct Point {
    x: f64,
    y: f64,
}

#[proc_pool::task]
fn length(point: Point) -> f64 {
    point.x.hypot(point.y)
}

fn main() {}
