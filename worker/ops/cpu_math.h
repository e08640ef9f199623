// Scalar functions that the compiler turns into vector code in the CPU ops.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace worker {

// e^x for x <= 88, relative error under 2e-7; e^x = 0 below -87. Branch-free, so loops over it
// vectorise. Source: Cody and Waite argument reduction with a degree-6 minimax-like Taylor tail on
// |r| <= ln(2)/2.
inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504f + magic;
  const float n = shifted - magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (std::bit_cast<int32_t>(shifted) - 0x4B400000 + 127) << 23;
  return p * std::bit_cast<float>(bits);
}
inline double Exp(double x) { return std::exp(x); }

// 1/(1+e^-x).
template <typename T>
inline T Sigmoid(T x) {
  return T(1) / (T(1) + Exp(-x));
}

}  // namespace worker
