#include "fit/vector_math.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "gtest/gtest.h"

namespace fit {
namespace {

TEST(VectorMathTest, ExpAndLogAgreeWithTheLibraryForEveryLength) {
  core::Rng rng(5);
  for (size_t n = 0; n < 40; ++n) {
    std::vector<double> x(n), z(n), e(n), l(n);
    for (size_t i = 0; i < n; ++i) {
      x[i] = 1400 * (rng.Uniform() - 0.5);
      z[i] = std::exp(1400 * (rng.Uniform() - 0.5) * (i % 2 == 0 ? 1 : 1e-3));
    }
    ExpMany(x.data(), e.data(), n);
    LogMany(z.data(), l.data(), n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(e[i] / std::exp(x[i]), 1, 4e-16) << x[i];
      EXPECT_NEAR(l[i], std::log(z[i]), 4e-16 * std::fabs(std::log(z[i])) + 1e-17) << z[i];
    }
  }
}

TEST(VectorMathTest, NumbersOutsideTheRangeAreNeverSilentlyWrong) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  std::vector<double> x = {-1e9, 1e9, nan, 0, -infinity, infinity, 1, -1};
  ExpMany(x.data(), x.data(), x.size());
  EXPECT_LT(x[0], 1e-300);
  EXPECT_GT(x[0], 0);
  EXPECT_GT(x[1], 1e300);
  EXPECT_TRUE(std::isnan(x[2]));
  EXPECT_EQ(x[3], 1);
  std::vector<double> z = {0, -1, nan, infinity, 1e-310, 1, 2, 3};
  LogMany(z.data(), z.data(), z.size());
  EXPECT_EQ(z[0], -infinity);
  EXPECT_TRUE(std::isnan(z[1]));
  EXPECT_TRUE(std::isnan(z[2]));
  EXPECT_EQ(z[3], infinity);
  EXPECT_EQ(z[4], std::log(1e-310));
  EXPECT_EQ(z[5], 0);
}

TEST(VectorMathTest, DotsAreSumsOfProducts) {
  for (size_t n = 0; n < 20; ++n) {
    std::vector<double> a(n), b(n), c(n);
    double two = 0, three = 0;
    for (size_t i = 0; i < n; ++i) {
      a[i] = static_cast<double>(i + 1), b[i] = 2 - static_cast<double>(i), c[i] = 3;
      two += a[i] * b[i], three += a[i] * b[i] * c[i];
    }
    EXPECT_EQ(Dot(a.data(), b.data(), n), two);
    EXPECT_EQ(Dot(a.data(), b.data(), c.data(), n), three);
  }
}

}  // namespace
}  // namespace fit
