use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Option<(&'static str, Report)> {
    Table::new(&Names::default()).read(text).map(|reading| (reading.engine, reading.report))
}

fn report(waiting: u32, running: u32, kv_used: Option<f32>) -> Report {
    Report { waiting: Some(waiting), running: Some(running), kv_used }
}

/// From `/metrics` of vLLM 0.32 under 48 concurrent requests.
const VLLM: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 16.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 32.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 32.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="deferred"} 0.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.00805860805860803
"#;

/// From `/metrics` of llama.cpp's llama-server 0.5 under 48 concurrent requests.
const LLAMA_CPP: &str = "# HELP llamacpp:requests_processing Number of requests processing
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# HELP llamacpp:requests_deferred Number of requests deferred
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 4
# TYPE llamacpp:n_busy_slots_per_decode gauge
llamacpp:n_busy_slots_per_decode 3.53884
";

#[test]
fn what_vllm_says_is_understood() {
    assert_eq!(read(VLLM), Some(("vllm", report(32, 16, Some(0.008_058_608_5)))));
    let older = "vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.5\n";
    assert_eq!(read(older).unwrap().1, Report { running: Some(1), kv_used: Some(0.5), waiting: None });
}

#[test]
fn what_llama_cpp_says_is_understood() {
    assert_eq!(read(LLAMA_CPP), Some(("llamacpp", report(4, 4, None))));
}

#[test]
fn parts_of_one_engine_add_up_and_the_fullest_memory_counts() {
    let text = r#"vllm:num_requests_running{engine="0"} 3
vllm:num_requests_running{engine="1"} 4
vllm:num_requests_waiting{engine="0"} 0
vllm:kv_cache_usage_perc{engine="0"} 0.2
vllm:kv_cache_usage_perc{engine="1"} 0.9
"#;
    assert_eq!(read(text), Some(("vllm", report(0, 7, Some(0.9)))));
}

#[test]
fn ranks_and_priorities_of_sglang_are_not_counted_twice() {
    let text = r#"sglang:num_running_reqs{engine_type="unified",tp_rank="0",dp_rank="0",priority=""} 5.0
sglang:num_running_reqs{engine_type="unified",tp_rank="1",dp_rank="0",priority=""} 5.0
sglang:num_running_reqs{engine_type="unified",tp_rank="0",dp_rank="1",priority=""} 2.0
sglang:num_running_reqs{engine_type="unified",tp_rank="0",dp_rank="1",priority="high"} 1.0
sglang:num_queue_reqs{tp_rank="0"} 1.0
sglang:token_usage{tp_rank="0"} 0.25
"#;
    assert_eq!(read(text), Some(("sglang", report(1, 7, Some(0.25)))));
}

#[test]
fn the_other_engines_are_recognised_by_their_names() {
    let trtllm = "trtllm_num_requests_running{model_name=\"m\"} 2\ntrtllm_num_requests_waiting 1\ntrtllm_kv_cache_utilization 0.5";
    assert_eq!(read(trtllm), Some(("trtllm", report(1, 2, Some(0.5)))));
    let triton = r#"nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 3
nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 8
nv_trt_llm_request_metrics{model="m",request_type="max",version="1"} 512
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="m"} 0.75
"#;
    assert_eq!(read(triton), Some(("triton", report(3, 8, Some(0.75)))));
    let tgi = "tgi_queue_size 1\ntgi_batch_current_size 9\ntgi_batch_current_max_tokens 300\ntgi_batch_max_total_tokens 400";
    assert_eq!(read(tgi), Some(("tgi", report(1, 9, Some(0.75)))));
    let plimsoll = "plimsoll_requests_in_flight{model=\"a\"} 3\nplimsoll_requests_in_flight{model=\"b\"} 4";
    assert_eq!(read(plimsoll), Some(("plimsoll", Report { running: Some(7), ..Report::default() })));
    assert_eq!(read("process_open_fds 3\n"), None);
}

#[test]
fn names_of_the_configuration_come_before_the_table() {
    let names =
        Names { running: "jobs{state=busy}".into(), waiting: "jobs{state=new}".into(), ..Names::default() };
    let text = format!("{VLLM}jobs{{state=\"busy\"}} 7\njobs{{state=\"new\"}} 8\n");
    let reading = Table::new(&names).read(&text).unwrap();
    assert_eq!((reading.engine, reading.report), ("configured", report(8, 7, None)));
}

#[test]
fn numbers_that_cannot_be_are_not_believed() {
    assert_eq!(read("vllm:num_requests_running NaN\nvllm:num_requests_waiting -1\n"), None);
    let huge = read("vllm:num_requests_running 1e300\nvllm:kv_cache_usage_perc 7\n").unwrap().1;
    assert_eq!((huge.running, huge.kv_used), (Some(1_000_000_000), Some(1.0)));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", cut in 0..VLLM.len(), put in "[{}\"\\\\,= \n#a-z0-9:_.-]{0,40}") {
        let _ = read(&text);
        let _ = Signal::parse(&put);
        let _ = read(&format!("{}{put}{}", &VLLM[..cut], &VLLM[cut..]));
    }
}
