// The Qwen3-style decoder: pre-norm blocks of grouped-query attention with QK-norm and rotary
// positions, and a SwiGLU MLP; final norm; tied or untied head. Names and layout are Hugging Face's
// Qwen3ForCausalLM.
#include <cmath>
#include <numbers>

#include "core/status_macros.h"
#include "fmt/format.h"
#include "worker/models/model.h"
#include "worker/ops/add_rms_norm.h"
#include "worker/ops/attention.h"
#include "worker/ops/embedding.h"
#include "worker/ops/linear.h"
#include "worker/ops/qk_norm_rope.h"
#include "worker/ops/swiglu.h"

namespace worker {
namespace {

struct Config {
  int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab;
  double norm_eps, rope_theta, residual_multiplier;
  bool tied, qk_norm;
  core::Json rope_scaling;
};

absl::StatusOr<Config> ParseConfig(const core::Json& json) {
  Config c;
  auto integer = [&](const char* key, int64_t* out) -> absl::Status {
    if (!json.contains(key) || !json[key].is_number_integer() || json[key].get<int64_t>() <= 0) {
      return absl::InvalidArgumentError(
          fmt::format("transformer config: '{}' must be a positive integer", key));
    }
    *out = json[key].get<int64_t>();
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(integer("hidden_size", &c.hidden));
  RETURN_IF_ERROR(integer("num_hidden_layers", &c.layers));
  RETURN_IF_ERROR(integer("num_attention_heads", &c.heads));
  RETURN_IF_ERROR(integer("num_key_value_heads", &c.kv_heads));
  RETURN_IF_ERROR(integer("head_dim", &c.head_dim));
  RETURN_IF_ERROR(integer("intermediate_size", &c.ffn));
  RETURN_IF_ERROR(integer("vocab_size", &c.vocab));
  auto number = [&](const char* key, double* out) -> absl::Status {
    if (!json.contains(key) || !json[key].is_number()) {
      return absl::InvalidArgumentError(
          fmt::format("transformer config: '{}' must be a number", key));
    }
    *out = json[key].get<double>();
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(number("rms_norm_eps", &c.norm_eps));
  RETURN_IF_ERROR(number("rope_theta", &c.rope_theta));
  c.residual_multiplier = 1;
  if (json.contains("residual_multiplier"))
    RETURN_IF_ERROR(number("residual_multiplier", &c.residual_multiplier));
  c.tied = json.value("tie_word_embeddings", false);
  c.qk_norm = json.value("qk_norm", true);
  if (json.contains("rope_scaling")) c.rope_scaling = json["rope_scaling"];
  if (c.heads % c.kv_heads != 0) {
    return absl::InvalidArgumentError(
        fmt::format("transformer config: {} query heads cannot share {} key/value heads evenly",
                    c.heads, c.kv_heads));
  }
  if (c.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        fmt::format("transformer config: head_dim {} must be even", c.head_dim));
  }
  return c;
}

// Angle of position t and pair i: t * theta^(-2i/D), with Llama 3's frequency scaling when
// configured. Source: Llama 3.1 release, apply_scaling of rotary frequencies.
std::vector<double> RotaryFrequencies(const Config& c) {
  std::vector<double> frequency(c.head_dim / 2);
  for (int64_t i = 0; i < c.head_dim / 2; ++i)
    frequency[i] = std::pow(c.rope_theta, -2.0 * i / c.head_dim);
  if (c.rope_scaling.is_object()) {
    const double factor = c.rope_scaling.value("factor", 8.0),
                 low = c.rope_scaling.value("low_freq_factor", 1.0);
    const double high = c.rope_scaling.value("high_freq_factor", 4.0);
    const double original = c.rope_scaling.value("original_max_position_embeddings", 8192.0);
    for (double& f : frequency) {
      const double wavelength = 2 * std::numbers::pi / f;
      if (wavelength > original / low) {
        f /= factor;
      } else if (wavelength > original / high) {
        const double smooth = (original / wavelength - low) / (high - low);
        f = (1 - smooth) * f / factor + smooth * f;
      }
    }
  }
  return frequency;
}

}  // namespace

absl::StatusOr<ModelOutputs> BuildTransformer(const core::Json& json, ModelBuilder& b) {
  ASSIGN_OR_RETURN(const Config c, ParseConfig(json));
  const int64_t length = b.graph.tensor(b.tokens).dims[1];
  const AttentionShape shape{c.heads, c.kv_heads, c.head_dim};

  const std::vector<double> frequency = RotaryFrequencies(c);
  Tensor cosine{.name = "rope.cos", .dims = {length, c.head_dim / 2}, .storage = Storage::kConst};
  Tensor sine = cosine;
  sine.name = "rope.sin";
  for (int64_t t = 0; t < length; ++t) {
    for (double f : frequency) {
      cosine.constant.push_back(std::cos(t * f));
      sine.constant.push_back(std::sin(t * f));
    }
  }
  const TensorId cos_id = b.graph.Add(std::move(cosine)), sin_id = b.graph.Add(std::move(sine));

  const TensorId table = b.Matrix("model.embed_tokens.weight", "embedding", c.vocab, c.hidden);
  TensorId stream = Embedding(b.graph, b.tokens, table, c.hidden);
  TensorId branch = kNoTensor;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer), attn = prefix + "self_attn.",
                      mlp = prefix + "mlp.";
    auto norm = AddRmsNorm(b.graph, stream, branch,
                           b.Vector(prefix + "input_layernorm.weight", "norm", c.hidden),
                           c.norm_eps, c.residual_multiplier);
    const TensorId w_qkv = b.Stacked(attn + "qkv", "attention",
                                     {{attn + "q_proj.weight", c.heads * c.head_dim},
                                      {attn + "k_proj.weight", c.kv_heads * c.head_dim},
                                      {attn + "v_proj.weight", c.kv_heads * c.head_dim}},
                                     c.hidden);
    const TensorId qkv = Linear(b.graph, norm.y, w_qkv, shape.qkv_width());
    const TensorId q_gain =
        c.qk_norm ? b.Vector(attn + "q_norm.weight", "qk_norm", c.head_dim) : kNoTensor;
    const TensorId k_gain =
        c.qk_norm ? b.Vector(attn + "k_norm.weight", "qk_norm", c.head_dim) : kNoTensor;
    const auto heads = QkNormRope(b.graph, qkv, q_gain, k_gain, cos_id, sin_id, shape, c.norm_eps);
    const TensorId attended = Attention(b.graph, heads.q, heads.k, heads.v, shape);
    branch = Linear(b.graph, attended,
                    b.Matrix(attn + "o_proj.weight", "attention", c.hidden, c.heads * c.head_dim),
                    c.hidden);
    stream = norm.sum;

    norm = AddRmsNorm(b.graph, stream, branch,
                      b.Vector(prefix + "post_attention_layernorm.weight", "norm", c.hidden),
                      c.norm_eps, c.residual_multiplier);
    const TensorId w_gate_up =
        b.Stacked(mlp + "gate_up", "mlp",
                  {{mlp + "gate_proj.weight", c.ffn}, {mlp + "up_proj.weight", c.ffn}}, c.hidden);
    const TensorId active = SwiGlu(b.graph, Linear(b.graph, norm.y, w_gate_up, 2 * c.ffn));
    branch = Linear(b.graph, active, b.Matrix(mlp + "down_proj.weight", "mlp", c.hidden, c.ffn),
                    c.hidden);
    stream = norm.sum;
  }
  const auto final_norm =
      AddRmsNorm(b.graph, stream, branch, b.Vector("model.norm.weight", "final_norm", c.hidden),
                 c.norm_eps, c.residual_multiplier);
  ModelOutputs out;
  out.hidden = final_norm.y;
  out.head = c.tied ? table : b.Matrix("lm_head.weight", "head", c.vocab, c.hidden);
  out.vocab = c.vocab;
  return out;
}

}  // namespace worker
