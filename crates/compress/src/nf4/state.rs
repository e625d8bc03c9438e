//! The small texts of an NF4 checkpoint: each weight's quantization state, and the model's `quantization_config`.

use super::BLOCK;
use super::statistics::NESTED_BLOCK;
use serde_json::{Map, Value, json};

/// The JSON beside a weight, byte for byte as Python's `json.dumps` prints what bitsandbytes packs.
///
/// `dtype` is the weight's type before ("bfloat16"), `shape` its shape, outermost first; `nested_offset` there is with double quantization.
pub fn quant_state(dtype: &str, shape: &[u64], nested_offset: Option<f32>) -> String {
    let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
    let mut text = format!(r#"{{"quant_type": "nf4", "blocksize": {BLOCK}, "dtype": "{dtype}", "shape": [{}]"#, shape.join(", "));
    if let Some(offset) = nested_offset {
        let offset = python_float(offset as f64);
        text += &format!(r#", "nested_blocksize": {NESTED_BLOCK}, "nested_dtype": "float32", "nested_offset": {offset}"#);
    }
    text + "}"
}

/// A float as Python prints it: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16. Of two that are as short and as
/// near, Python takes the even one and Rust the upper one (0.131427764892578125, a float of 32 bits, lies between ...12 and ...13).
fn python_float(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() { "NaN" } else { ["Infinity", "-Infinity"][(x < 0.0) as usize] }.to_owned();
    }
    let shortest = format!("{x:e}");
    let digits = shortest.bytes().take_while(|&b| b != b'e').filter(u8::is_ascii_digit).count();
    // With a number of digits given, Rust rounds halves to even.
    let even = format!("{x:.0$e}", digits - 1);
    let text = if even.parse() == Ok(x) { even } else { shortest };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    if x != 0.0 && !(1e-4..1e16).contains(&x.abs()) {
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
        return format!("{mantissa}e{sign}{exponent:0>2}");
    }
    // As many digits after the point as the exponent leaves over: the same number, written out.
    let after = (digits as i32 - 1 - exponent.parse::<i32>().unwrap_or(0)).max(1) as usize;
    format!("{x:.after$}")
}

/// The `quantization_config` that transformers writes into config.json. `compute` is the type in which products are to be computed.
pub fn quantization_config(compute: &str, double: bool) -> Value {
    json!({
        "_load_in_4bit": true, "_load_in_8bit": false, "bnb_4bit_compute_dtype": compute, "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double, "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false, "llm_int8_skip_modules": null, "llm_int8_threshold": 6.0, "load_in_4bit": true,
        "load_in_8bit": false, "quant_method": "bitsandbytes",
    })
}

/// config.json with the quantization in it and all else as it was.
pub fn with_quantization(mut config: Map<String, Value>, double: bool) -> Map<String, Value> {
    let compute = ["dtype", "torch_dtype"].iter().find_map(|k| config.get(*k)?.as_str()).unwrap_or("float32").to_owned();
    config.insert("quantization_config".into(), quantization_config(&compute, double));
    config
}

#[cfg(test)]
mod tests {
    use super::{python_float, quant_state};

    #[test]
    fn floats_are_pythons() {
        let cases = [
            (0.10418454557657242, "0.10418454557657242"),
            // Half way between two that are as short.
            (8613.25 / 65536.0, "0.13142776489257812"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (9007199254740993.0, "9007199254740992.0"),
            (5e-324, "5e-324"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.2345e-7, "1.2345e-07"),
            (1e16, "1e+16"),
            (123456789.0, "123456789.0"),
            (2.5e-120, "2.5e-120"),
        ];
        for (x, text) in cases {
            assert_eq!(python_float(x), text);
        }
    }

    #[test]
    fn state_is_bitsandbytes() {
        let double = r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [256, 768], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.10418454557657242}"#;
        assert_eq!(quant_state("bfloat16", &[256, 768], Some(0.104184546)), double);
        assert_eq!(quant_state("float32", &[4, 2], None), r#"{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4, 2]}"#);
    }
}
