use super::super::{Options, Trace, read_from};
use super::*;

fn read(text: &str) -> (Trace, Vec<String>) {
    let (trace, problems) = read_from("t", text.as_bytes(), &Options::default()).unwrap();
    (trace, problems.first)
}

#[test]
fn columns_stand_in_any_order_and_most_are_optional() {
    let (trace, problems) = read("prompt_tokens,at_s,tenant,output_tokens\n10,0.5,acme,3\n20,0.25,,4\n");
    assert!(problems.is_empty());
    let [first, second] = trace.arrivals[..] else { panic!("two requests") };
    assert_eq!((first.prompt_tokens, first.output_tokens, first.at.as_millis()), (20, 4, 250));
    assert_eq!(trace.tenants[usize::from(second.tenant)], "acme");
    assert_eq!(trace.tenants[usize::from(first.tenant)], "default");
}

#[test]
fn blocks_are_read_from_both_forms_alike() {
    let csv = "at_s,prompt_tokens,output_tokens,model,region,block_tokens,blocks\n\
               0,40,1,m,eu,16,7;8 9\n1,10,2,,\n";
    let json = r#"{"at_s":0,"prompt_tokens":40,"output_tokens":1,"model":"m","region":"eu","blocks":[7,8,9]}
                  {"at_s":1.0,"prompt_tokens":10,"output_tokens":2}"#;
    assert_eq!(read(csv), read(json));
    let (trace, _) = read(csv);
    assert_eq!((trace.block_tokens, trace.blocks_of(&trace.arrivals[0])), (16, &[7, 8, 9][..]));
    assert_eq!(trace.regions, ["eu", ""]);
}

#[test]
fn what_is_wrong_is_said_by_line_and_column() {
    let (_, problems) = read(
        "at_s,prompt_tokens,output_tokens,blocks,block_tokens\n0,1,1\n-1,1,1\nsoon,1,1\n0,many,1\n0,1\n\
         0,1,1,1,512\n0,1,1,1,16\n0,1,1,x\n0,1,1,,,\n1700000000,1,1\n",
    );
    let expected = [
        "t:3: at_s: -1 s is not between 0 and 1000000000 s after the beginning",
        "t:4: at_s: \"soon\" is not a number of seconds",
        "t:5: prompt_tokens: \"many\" is not a whole number",
        "t:6: output_tokens is missing",
        "t:8: block_tokens is 16, and was 512 before",
        "t:9: blocks: \"x\" is not a whole number",
        "t:10: there are more fields than columns; names hold no comma",
        "t:11: at_s: 1700000000 s is not between 0 and 1000000000 s after the beginning",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_header_without_a_needed_column_or_with_an_unknown_one_is_told() {
    for (header, why) in [
        ("at_s,prompt_tokens", "there is no column output_tokens"),
        ("at_s,tokens", "\"tokens\" is not a column"),
    ] {
        let error = read_from("t", header.as_bytes(), &Options::default()).unwrap_err().to_string();
        assert_eq!(error, format!("t: holds no request: 1 broken line: t:1: {why}"));
    }
}

#[test]
fn what_is_written_is_read_back() {
    let (trace, _) = read(
        "at_s,prompt_tokens,output_tokens,model,tenant,region,block_tokens,blocks\n\
         0.123456789,40,1,m,acme,eu,16,18446744073709551615 2\n7,10,2,n,b,us,16,\n",
    );
    let mut written = Vec::new();
    write(&trace, &mut written).unwrap();
    assert_eq!(read(std::str::from_utf8(&written).unwrap()).0, trace);
}
