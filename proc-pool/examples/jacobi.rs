//! Heat in a plate: a group of actors, each of which keeps some rows of the grid and relaxes them
//! (Jacobi's method), exchanging edges with its neighbours.
//!
//! `cargo run --release -p proc-pool --example jacobi [SIZE [ACTORS]]`
//!
//! The rows stay in the actors' memory from step to step; only edges travel. The upper rim is kept
//! at 1, the lower at 0, and the left and right rims fall evenly between, so the exact solution is
//! known: every row has one value, and they fall evenly too.

use proc_pool::{ActorOptions, worker_state};

/// Rows `first..first + rows.len() - 2` of the grid, with one more above and below that belong to
/// neighbours or to the rim.
struct Strip {
    size: usize,
    first: usize,
    rows: Vec<Vec<f64>>,
    next: Vec<Vec<f64>>,
}

/// The exact value of a row; row 0 is the upper rim, row `size + 1` the lower.
fn exact(row: usize, size: usize) -> f64 {
    1.0 - row as f64 / (size + 1) as f64
}

#[proc_pool::actor]
impl Strip {
    fn new(points: usize, actors: usize) -> Self {
        let size = points;
        let number = worker_state::number().unwrap_or(0);
        let (first, end) = (number * size / actors, (number + 1) * size / actors);
        // Cold inside; the rims have their values from the beginning.
        let row = |row: usize| {
            let is_rim = row == 0 || row == size + 1;
            let inside = if is_rim { exact(row, size) } else { 0.0 };
            let mut values = vec![inside; size + 2];
            (values[0], values[size + 1]) = (exact(row, size), exact(row, size));
            values
        };
        let rows: Vec<_> = (first..end + 2).map(row).collect();
        Strip { size, first, next: rows.clone(), rows }
    }

    /// First and last row of its own.
    pub fn edges(&mut self) -> (Vec<f64>, Vec<f64>) {
        (self.rows[1].clone(), self.rows[self.rows.len() - 2].clone())
    }

    /// Takes the neighbours' edges and relaxes every point once; gives the largest change.
    pub fn step(&mut self, above: Option<Vec<f64>>, below: Option<Vec<f64>>) -> f64 {
        let last = self.rows.len() - 1;
        if let Some(above) = above {
            self.rows[0] = above;
        }
        if let Some(below) = below {
            self.rows[last] = below;
        }
        let mut change = 0.0_f64;
        for y in 1..last {
            for x in 1..=self.size {
                let (row, above, below) = (&self.rows[y], &self.rows[y - 1], &self.rows[y + 1]);
                let value = (row[x - 1] + row[x + 1] + above[x] + below[x]) / 4.0;
                change = change.max((value - row[x]).abs());
                self.next[y][x] = value;
            }
        }
        std::mem::swap(&mut self.rows, &mut self.next);
        change
    }

    /// How far it is from the exact solution at most.
    pub fn error(&mut self) -> f64 {
        let rows = self.rows.iter().enumerate().skip(1).take(self.rows.len() - 2);
        rows.flat_map(|(y, row)| {
            let exact = exact(self.first + y, self.size);
            row[1..=self.size].iter().map(move |value| (value - exact).abs())
        })
        .fold(0.0, f64::max)
    }
}

#[proc_pool::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let size: usize = arguments.next().map_or(Ok(64), |size| size.parse())?;
    let actors: usize = arguments.next().map_or(Ok(2), |actors| actors.parse())?;
    let group = Strip::spawn_group(ActorOptions::new(), actors, size, actors)?;
    let strips: Vec<_> = group.iter().collect();
    let mut steps = 0;
    // ANCHOR: step
    loop {
        let edges = group.edges().wait()?;
        let above = |number: usize| Some(edges[number.checked_sub(1)?].1.clone());
        let below = |number: usize| Some(edges.get(number + 1)?.0.clone());
        let calls: Vec<_> = (strips.iter().enumerate())
            .map(|(number, strip)| strip.step(above(number), below(number)))
            .collect();
        let mut change = 0.0_f64;
        for call in calls {
            change = change.max(call.wait()?);
        }
        steps += 1;
        if change < 1e-7 {
            break;
        }
    }
    // ANCHOR_END: step
    let error = group.error().reduce(f64::max)?.unwrap_or(f64::NAN);
    println!("steps: {steps}");
    println!("error: {error:.1e}");
    if error < 1e-3 { Ok(()) } else { Err("that is no solution".into()) }
}
