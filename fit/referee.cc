#include "fit/referee.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "ceres/ceres.h"
#include "glog/logging.h"

namespace fit {
namespace {

// The residual itself or, where `robust` is given, sign(r) sqrt(2 w rho(r)): its half square is w
// rho(r) whatever the sign and the weight, which Ceres' own loss functions of r^2 cannot say.
class RunResidual final : public ceres::CostFunction {
 public:
  RunResidual(const Equation& law, const FitPoint& point, ResidualKind residual, double weight = 1,
              const LossSpec* robust = nullptr)
      : law_(law), point_(point), residual_(residual), weight_(weight), robust_(robust) {
    set_num_residuals(1);
    mutable_parameter_block_sizes()->push_back(static_cast<int>(law.coordinates().size()));
  }

  bool Evaluate(double const* const* parameters, double* residuals,
                double** jacobians) const override {
    const size_t k = law_.coordinates().size();
    double g[32], h[32 * 32];
    const double loss = law_.Derivatives(parameters[0], point_.x, g, h);
    const bool log = residual_ == ResidualKind::kLog;
    residuals[0] = log ? std::log(loss) - point_.log_y : loss - point_.y;
    if (jacobians != nullptr && jacobians[0] != nullptr)
      for (size_t i = 0; i < k; ++i) jacobians[0][i] = log ? g[i] / loss : g[i];
    if (robust_ != nullptr) {
      const double r = residuals[0], size = std::fabs(r);
      const double side = weight_ * (r > 0 ? robust_->over : 1);
      const double psi =
          side * (robust_->kind == LossKind::kL2 ? size : std::min(size, robust_->delta));
      residuals[0] = std::copysign(std::sqrt(2 * weight_ * Rho(*robust_, r)), r);
      const double slope = size > 0 ? psi / std::fabs(residuals[0]) : std::sqrt(side);
      if (jacobians != nullptr && jacobians[0] != nullptr)
        for (size_t i = 0; i < k; ++i) jacobians[0][i] *= slope;
    }
    bool finite = std::isfinite(residuals[0]);
    if (jacobians != nullptr && jacobians[0] != nullptr)
      for (size_t i = 0; i < k; ++i) finite = finite && std::isfinite(jacobians[0][i]);
    return finite;
  }

 private:
  const Equation& law_;
  const FitPoint& point_;
  ResidualKind residual_;
  double weight_;
  const LossSpec* robust_;
};

}  // namespace

RefereeResult CeresReferee(const Equation& law, const std::vector<Coordinate>& box,
                           const std::vector<FitPoint>& points, const std::vector<double>& weights,
                           const LossSpec& loss, const std::vector<double>& start) {
  constexpr double kL1Delta = 1e-6;
  LossSpec smooth = loss;
  if (loss.kind == LossKind::kL1) smooth.kind = LossKind::kHuber, smooth.delta = kL1Delta;
  const bool plain = loss.over == 1 &&
                     std::all_of(weights.begin(), weights.end(), [](double w) { return w == 1; });
  RefereeResult result;
  result.theta = start;
  result.objective = std::numeric_limits<double>::infinity();
  ceres::Problem problem;
  for (size_t i = 0; i < points.size(); ++i) {
    const FitPoint& point = points[i];
    ceres::LossFunction* robust = nullptr;  // owned by the problem
    if (!plain) {
      problem.AddResidualBlock(new RunResidual(law, point, loss.residual, weights[i], &smooth),
                               nullptr, result.theta.data());
      continue;
    }
    if (loss.kind != LossKind::kL2)
      robust = new ceres::HuberLoss(loss.kind == LossKind::kL1 ? kL1Delta : loss.delta);
    problem.AddResidualBlock(new RunResidual(law, point, loss.residual), robust,
                             result.theta.data());
  }
  std::vector<int> pinned;
  for (size_t i = 0; i < box.size(); ++i) {
    const int index = static_cast<int>(i);
    if (box[i].lower == box[i].upper) {
      pinned.push_back(index);
      result.theta[i] = box[i].lower;
    } else {
      problem.SetParameterLowerBound(result.theta.data(), index, box[i].lower);
      problem.SetParameterUpperBound(result.theta.data(), index, box[i].upper);
    }
  }
  if (!pinned.empty())
    problem.SetManifold(result.theta.data(),
                        new ceres::SubsetManifold(static_cast<int>(box.size()), pinned));
  ceres::Solver::Options options;
  options.linear_solver_type = ceres::DENSE_QR;
  options.max_num_iterations = 500;
  options.function_tolerance = 1e-13;
  options.gradient_tolerance = 1e-14;
  options.parameter_tolerance = 1e-12;
  options.logging_type = ceres::SILENT;
  FLAGS_minloglevel = google::GLOG_FATAL;  // why a solve stopped is logged even so
  ceres::Solver::Summary summary;
  ceres::Solve(options, &problem, &summary);
  result.iterations = static_cast<int>(summary.iterations.size());
  if (!summary.IsSolutionUsable()) return result;
  const double objective = FitObjective(law, points, weights, loss, result.theta);
  if (std::isfinite(objective)) result.objective = objective;
  return result;
}

}  // namespace fit
