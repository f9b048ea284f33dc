use super::*;

/// A folder that is gone with its owner.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("plimsoll-servegen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            std::fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind in the folder for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LENGTHS: &str = r#"{"0": {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": "{7: 1.0}"}}"#;

fn options(from: u64, length: u64) -> Options {
    Options {
        from: Duration::from_secs(from),
        length: Some(Duration::from_secs(length)),
        ..Options::default()
    }
}

#[test]
fn windows_have_the_arrivals_that_their_rates_promise() {
    let trace = "0,2.0,4,Gamma,0.0625,0.1\n600,0,0,,0,0\n1200,10,1,Weibull,0.3,9\n";
    let files = [("chunk-4-trace.csv", trace), ("chunk-4-dataset.json", LENGTHS)];
    let folder = Folder::new("rates", &files);
    let (trace, problems) = read(&folder.0, &options(0, 1_800)).unwrap();
    let within = |from: u64, until: u64| {
        trace.arrivals.iter().filter(|a| (from..until).contains(&a.at.as_secs())).count()
    };
    assert_eq!((within(0, 600), within(600, 1_200), within(1_200, 1_800)), (1_200, 0, 6_000));
    assert!(problems.is_empty() && trace.tenants == ["client-4"]);
    let mean = trace.arrivals.iter().map(|a| f64::from(a.prompt_tokens)).sum::<f64>() / 7_200.0;
    assert!((mean - 200.0).abs() < 5.0, "{mean}");
}

#[test]
fn a_slice_holds_what_the_whole_holds_there() {
    let files =
        [("chunk-0-trace.csv", "0,5,1,Gamma,1,1\n600,5,1,Gamma,1,1"), ("chunk-0-dataset.json", LENGTHS)];
    let folder = Folder::new("slice", &files);
    let (whole, _) = read(&folder.0, &options(0, 1_200)).unwrap();
    let (part, _) = read(&folder.0, &options(500, 200)).unwrap();
    let cut = crate::trace::shape::slice(whole, Duration::from_secs(500), Some(Duration::from_secs(200)));
    assert!(part.arrivals.len() > 800 && part.arrivals.len() == cut.arrivals.len());
    for (a, b) in part.arrivals.iter().zip(&cut.arrivals) {
        assert!(a.at.abs_diff(b.at).as_nanos() < 10 && a.prompt_tokens == b.prompt_tokens);
    }
}

#[test]
fn a_client_without_lengths_is_left_out_and_told() {
    let files = [
        ("chunk-0-trace.csv", "0,5,1,Gamma,1,1"),
        ("chunk-1-trace.csv", "0,5,1,Gamma,1,1\n600,x,1,Gamma,1,1"),
        ("chunk-1-dataset.json", LENGTHS),
    ];
    let folder = Folder::new("missing", &files);
    let (trace, problems) = read(&folder.0, &options(0, 600)).unwrap();
    assert_eq!((trace.tenants, problems.count), (vec!["client-1".to_owned()], 2));
    assert!(problems.first[0].ends_with("the client is left out"), "{problems}");
    assert!(problems.first[1].ends_with("chunk-1-trace.csv:2: rate: \"x\" is not a number"));
}

#[test]
fn a_folder_without_clients_is_no_trace() {
    let folder = Folder::new("empty", &[("readme.txt", "")]);
    assert!(matches!(read(&folder.0, &options(0, 1)), Err(Error::UnknownForm { .. })));
}
