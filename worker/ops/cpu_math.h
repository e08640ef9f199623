// Scalar functions that the compiler turns into vector code in the CPU ops.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace worker {

// e^x for x <= 88, relative error under 2e-7; e^x = 0 below -87. Branch-free, so loops over it
// vectorise. The rounding is an explicit instruction: the add-and-subtract trick does not survive
// -fassociative-math. Source: Cody and Waite argument reduction with a degree-6 polynomial on |r|
// <= ln(2)/2 (Cephes expf).
inline float Exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = __builtin_rintf(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}
inline double Exp(double x) { return std::exp(x); }

// 1/(1+e^-x).
template <typename T>
inline T Sigmoid(T x) {
  return T(1) / (T(1) + Exp(-x));
}

}  // namespace worker
