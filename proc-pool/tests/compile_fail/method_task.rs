struct Model {
    weight: f64,
}

impl Model {
    #[proc_pool::task]
    fn apply(self, x: f64) -> f64 {
        self.weight * x
    }
}

fn main() {}
