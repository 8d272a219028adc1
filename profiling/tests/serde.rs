//! Timelines as JSON, with the feature `serde`.
#![cfg(feature = "serde")]

use profiling::Sampler;

#[test]
fn a_timeline_becomes_json_with_its_peak_and_everybody_in_it() {
    let sampler = Sampler::builder(std::process::id()).start().unwrap();
    sampler.mark("a \"mark\"");
    let timeline = sampler.stop();
    let json: serde_json::Value = serde_json::to_value(&timeline).unwrap();
    assert_eq!(json["peak"]["total"], timeline.peak_bytes());
    assert_eq!(json["processes"][0]["last"]["pid"], std::process::id());
    assert_eq!(json["marks"][0]["name"], "a \"mark\"");
    assert_eq!(json["samples"].as_array().unwrap().len(), timeline.samples.len());
}
