#include "recipes/transformer_shape.h"

#include "core/check.h"
#include "core/status_macros.h"
#include "fmt/format.h"

namespace recipes {

ParamCounts CountParams(const TransformerShape& s) {
  const int64_t q_out = s.heads * s.head_dim, kv_out = s.kv_heads * s.head_dim;
  ParamCounts n;
  n.embedding = s.vocab * s.hidden;
  n.attention = s.layers * s.hidden * (2 * q_out + 2 * kv_out);
  n.mlp = s.layers * 3 * s.hidden * s.ffn;
  n.norm = s.layers * 2 * s.hidden;
  n.final_norm = s.hidden;
  n.qk_norm = s.qk_norm ? s.layers * 2 * s.head_dim : 0;
  n.head = s.tied ? 0 : s.vocab * s.hidden;
  // The same sum by layers, the way model cards derive it; a role that is forgotten shows here.
  const int64_t layer =
      s.hidden * (2 * q_out + 2 * kv_out + 3 * s.ffn + 2) + (s.qk_norm ? 2 * s.head_dim : 0);
  SWEEP_CHECK(n.Total() == (s.tied ? 1 : 2) * s.vocab * s.hidden + s.layers * layer + s.hidden);
  return n;
}

double DelphiForwardFlops(const TransformerShape& s) {
  const int64_t q_out = s.heads * s.head_dim, kv_out = s.kv_heads * s.head_dim;
  const int64_t mlp = 2 * 3 * s.hidden * s.ffn;
  const int64_t qkv = 2 * s.hidden * (q_out + 2 * kv_out);
  const int64_t out = 2 * q_out * s.hidden;
  const int64_t scores = 2 * s.seq_len * q_out + 3 * s.seq_len * s.heads;
  const int64_t values = 2 * s.seq_len * q_out;
  const int64_t head = 2 * s.hidden * s.vocab;
  return static_cast<double>(s.layers * (mlp + qkv + out + scores + values) + head);
}

double ModelFlopsPerToken(const TransformerShape& s) {
  const ParamCounts n = CountParams(s);
  const int64_t matrices = n.attention + n.mlp + s.vocab * s.hidden;
  return static_cast<double>(6 * matrices + 6 * s.layers * s.heads * s.head_dim * s.seq_len);
}

ModelSpec MakeTransformerSpec(const TransformerShape& s, const TransformerOptions& options) {
  ModelSpec spec;
  spec.family = "transformer";
  spec.config = {{"hidden_size", s.hidden},
                 {"num_hidden_layers", s.layers},
                 {"num_attention_heads", s.heads},
                 {"num_key_value_heads", s.kv_heads},
                 {"head_dim", s.head_dim},
                 {"intermediate_size", s.ffn},
                 {"vocab_size", s.vocab},
                 {"max_position_embeddings", s.seq_len},
                 {"rms_norm_eps", options.rms_norm_eps},
                 {"rope_theta", options.rope_theta},
                 {"tie_word_embeddings", s.tied},
                 {"qk_norm", s.qk_norm},
                 {"residual_multiplier", options.residual_multiplier}};
  if (!options.rope_scaling.is_null()) spec.config["rope_scaling"] = options.rope_scaling;
  return spec;
}

absl::StatusOr<TransformerShape> ShapeOf(const ModelSpec& spec) {
  if (spec.family != "transformer") {
    return absl::InvalidArgumentError(
        fmt::format("a model of family '{}' was given where 'transformer' is needed", spec.family));
  }
  TransformerShape s;
  const std::pair<const char*, int64_t*> sizes[] = {
      {"hidden_size", &s.hidden},        {"num_hidden_layers", &s.layers},
      {"num_attention_heads", &s.heads}, {"num_key_value_heads", &s.kv_heads},
      {"head_dim", &s.head_dim},         {"intermediate_size", &s.ffn},
      {"vocab_size", &s.vocab},          {"max_position_embeddings", &s.seq_len}};
  for (const auto& [key, field] : sizes) {
    const auto found = spec.config.find(key);
    if (found == spec.config.end() || !found->is_number_integer() || found->get<int64_t>() <= 0) {
      return absl::InvalidArgumentError(
          fmt::format("transformer config: '{}' must be a positive integer", key));
    }
    *field = found->get<int64_t>();
  }
  const std::pair<const char*, bool*> flags[] = {{"tie_word_embeddings", &s.tied},
                                                 {"qk_norm", &s.qk_norm}};
  for (const auto& [key, field] : flags) {
    const auto found = spec.config.find(key);
    if (found == spec.config.end() || !found->is_boolean()) {
      return absl::InvalidArgumentError(
          fmt::format("transformer config: '{}' must be true or false", key));
    }
    *field = found->get<bool>();
  }
  return s;
}

}  // namespace recipes
