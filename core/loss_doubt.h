// Whether a loss can mean what it is called.
#pragma once

#include <string>
#include <string_view>

namespace core {

// ln 440,000: a model that gives every token of the largest vocabularies in use the same chance.
inline constexpr double kMostNatsPerToken = 13;
// log2 256: a model that gives every byte the same chance.
inline constexpr double kMostBitsPerByte = 8;

// Why a value in this unit can be no mean loss of a language model, for people; empty when it can.
// Only nats_per_token, bits_per_token and bits_per_byte have such a bound. Cannot fail.
std::string LossDoubt(double value, std::string_view unit);

}  // namespace core
