//! Writes to its standard output and error: whole lines, a line of 10 KiB, a line without an end.

fanfare_components::channel! {
    send |_| {
        println!("a line on stdout");
        eprintln!("a line on stderr");
        println!("{}", "x".repeat(10 << 10));
        print!("no end");
        Ok(fanfare_sdk::Receipt::new())
    }
}
