//! `shm`: what named segments there are, who uses them, and an end to what the dead left.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use shm_core::inspect::{self, Content, Found, Listed, Stays, User};
use shm_core::{Error, remove, sweep};

/// Named shared memory of shm-core: who holds what, how big, how old.
#[derive(Parser)]
#[command(name = "shm", version)]
struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All named segments.
    Ls,
    /// Remove those that no living process needs; a stranger's file is never touched.
    Sweep,
    /// All that is known of one segment.
    Inspect {
        /// The segment's name.
        name: String,
    },
    /// Remove one that nobody uses, also one that was made to be kept.
    Rm {
        /// The segment's name.
        name: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("shm: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough (`shm ls | head`) is no failure.
fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn run(arguments: &Arguments) -> Result<String, Error> {
    match &arguments.command {
        Command::Ls if arguments.json => {
            Ok(Value::from(inspect::list()?.iter().map(listed_json).collect::<Vec<_>>())
                .to_string())
        }
        Command::Ls => Ok(table(&inspect::list()?)),
        Command::Sweep => {
            let removed = sweep()?;
            Ok(if arguments.json {
                json!({ "removed": removed }).to_string()
            } else {
                format!("{removed} removed")
            })
        }
        Command::Inspect { name } => {
            let found = inspect::one(name)?;
            Ok(if arguments.json { json(name, &found).to_string() } else { page(name, &found) })
        }
        Command::Rm { name } => {
            remove(name)?;
            Ok(if arguments.json {
                json!({ "removed": 1 }).to_string()
            } else {
                format!("{name} removed")
            })
        }
    }
}

fn table(all: &[Listed]) -> String {
    let mut text = format!(
        "{:<28} {:>6} {:>9} {:>9} {:>5}  {:<12} USERS",
        "NAME", "HOLDS", "SIZE", "RESIDENT", "AGE", "STAYS"
    );
    for Listed { name, found, .. } in all {
        text += &match found {
            Ok(found) => format!(
                "\n{name:<28} {:>6} {:>9} {:>9} {:>5}  {:<12} {}",
                content(found),
                size(found.size),
                size(found.resident),
                age(found),
                stays(found),
                who(found),
            ),
            Err(error) => format!("\n{name:<28} {error}"),
        };
    }
    text
}

fn page(name: &str, found: &Found) -> String {
    let lives = if found.creator_lives { "lives" } else { "not here any more" };
    let scope = match (found.stays, &found.scope) {
        (Stays::WithScope, Some(scope)) => format!("\nscope     {}", user(scope)),
        (Stays::WithScope, None) => "\nscope     dead".to_owned(),
        _ => String::new(),
    };
    format!(
        "name      {name}\nid        {}\nholds     {}\nsize      {} of at most {} bytes\n\
         resident  {} bytes\nowner     user {}, mode {:o}\nmade      {} ago by process {} ({lives})\n\
         stays     {}{scope}\nusers     {}",
        found.id,
        content(found),
        found.size,
        found.maximum,
        found.resident,
        found.owner,
        found.mode,
        age(found),
        found.creator,
        stays(found),
        who(found),
    )
}

fn content(found: &Found) -> &'static str {
    match found.content {
        Content::Memory => "memory",
        Content::Array => "array",
        Content::Group => "group",
        Content::Raw => "raw",
        _ => "other",
    }
}

fn stays(found: &Found) -> &'static str {
    match found.stays {
        Stays::WhileUsed => "while used",
        Stays::WithScope => "with scope",
        Stays::UntilRemoved => "until rm",
        _ => "other",
    }
}

fn who(found: &Found) -> String {
    if found.is_dead() {
        return "none: a sweep removes it".to_owned();
    }
    if found.users.is_empty() {
        return "none".to_owned();
    }
    found.users.iter().map(user).collect::<Vec<_>>().join(", ")
}

fn user(user: &User) -> String {
    match user.pid {
        0 => "a process of another pid namespace".to_owned(),
        pid => format!("{pid} {}", user.command),
    }
}

/// Three digits and a unit: a table is for looking at.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            let digits = if unit == "B" || value >= 100.0 { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn age(found: &Found) -> String {
    let age = SystemTime::now().duration_since(found.created).unwrap_or(Duration::ZERO);
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn listed_json(listed: &Listed) -> Value {
    match &listed.found {
        Ok(found) => json(&listed.name, found),
        Err(error) => json!({ "name": listed.name, "error": error.to_string() }),
    }
}

fn json(name: &str, found: &Found) -> Value {
    let created = found.created.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    json!({
        "name": name,
        "id": found.id.to_string(),
        "content": content(found),
        "stays": stays(found),
        "size_bytes": found.size,
        "maximum_bytes": found.maximum,
        "resident_bytes": found.resident,
        "owner": found.owner,
        "mode": format!("{:o}", found.mode),
        "created_unix_seconds": created.as_secs_f64(),
        "creator_pid": found.creator,
        "creator_lives": found.creator_lives,
        "users": found.users.iter().map(user_json).collect::<Vec<_>>(),
        "scope": found.scope.as_ref().map(user_json),
        "dead": found.is_dead(),
    })
}

fn user_json(user: &User) -> Value {
    json!({ "pid": user.pid, "command": user.command })
}
