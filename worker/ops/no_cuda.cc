// The CUDA entry points of every op, for programs that are linked without the CUDA backend. In an
// archive: a program that brings the backend's objects never pulls this one in.
#include "core/check.h"
#include "worker/ops/add.h"
#include "worker/ops/add_rms_norm.h"
#include "worker/ops/attention.h"
#include "worker/ops/embedding.h"
#include "worker/ops/head_loss.h"
#include "worker/ops/linear.h"
#include "worker/ops/qk_norm_rope.h"
#include "worker/ops/swiglu.h"
#include "worker/optim/adam.h"
#include "worker/optim/clip.h"

namespace worker {

#define NO_CUDA(OpName) \
  void OpName::RunCuda(const CudaExec&) const { SWEEP_CHECK(false && "linked without CUDA"); }

NO_CUDA(AddOp)
NO_CUDA(AddRmsNormOp)
NO_CUDA(AddRmsNormBackwardOp)
NO_CUDA(AttentionOp)
NO_CUDA(AttentionBackwardOp)
NO_CUDA(EmbeddingOp)
NO_CUDA(EmbeddingBackwardOp)
NO_CUDA(HeadLossOp)
NO_CUDA(LinearOp)
NO_CUDA(LinearBackwardInputOp)
NO_CUDA(LinearBackwardWeightOp)
NO_CUDA(QkNormRopeOp)
NO_CUDA(QkNormRopeBackwardOp)
NO_CUDA(SwiGluOp)
NO_CUDA(SwiGluBackwardOp)
NO_CUDA(AdamWOp)
NO_CUDA(AdamHOp)
NO_CUDA(ClipOp)

#undef NO_CUDA

}  // namespace worker
