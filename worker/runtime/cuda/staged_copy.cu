#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "worker/runtime/cuda/cuda_check.h"
#include "worker/runtime/cuda/cuda_context.h"
#include "worker/runtime/cuda/staged_copy.h"

namespace worker {
namespace {

constexpr int kThreads = 8;
constexpr int64_t kPieceBytes = int64_t{8} << 20;

// Two pieces a thread: one crosses the bus while the other is filled or emptied.
struct Lane {
  std::byte* pinned[2] = {};
  cudaStream_t stream = nullptr;
  cudaEvent_t crossed[2] = {};
};

struct Lanes {
  std::mutex mu;
  Lane lane[kThreads];
  bool made = false;
};

void Make(Lanes& lanes) {
  const std::lock_guard lock(DeviceAllocation());
  for (Lane& lane : lanes.lane) {
    CUDA_OK(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking));
    for (int i = 0; i < 2; ++i) {
      CUDA_OK(cudaMallocHost(&lane.pinned[i], kPieceBytes));
      CUDA_OK(cudaEventCreateWithFlags(&lane.crossed[i], cudaEventDisableTiming));
    }
  }
  lanes.made = true;
}

void Work(int device, Lane& lane, const std::vector<CopyPart>& pieces, std::atomic<size_t>& next,
          CopyDirection direction) {
  CUDA_OK(cudaSetDevice(device));
  const CopyPart* in_flight[2] = {};
  auto settle = [&](int i) {
    if (in_flight[i] == nullptr) return;
    CUDA_OK(cudaEventSynchronize(lane.crossed[i]));
    if (direction == CopyDirection::kToHost)
      std::memcpy(in_flight[i]->host, lane.pinned[i], in_flight[i]->bytes);
    in_flight[i] = nullptr;
  };
  int i = 0;
  for (size_t at = next++; at < pieces.size(); at = next++, i = 1 - i) {
    const CopyPart& piece = pieces[at];
    settle(i);
    if (direction == CopyDirection::kToDevice) {
      std::memcpy(lane.pinned[i], piece.host, piece.bytes);
      CUDA_OK(cudaMemcpyAsync(piece.device, lane.pinned[i], piece.bytes, cudaMemcpyHostToDevice,
                              lane.stream));
    } else {
      CUDA_OK(cudaMemcpyAsync(lane.pinned[i], piece.device, piece.bytes, cudaMemcpyDeviceToHost,
                              lane.stream));
    }
    CUDA_OK(cudaEventRecord(lane.crossed[i], lane.stream));
    in_flight[i] = &piece;
  }
  settle(i);
  settle(1 - i);
}

}  // namespace

void StagedCopy(int device, const std::vector<CopyPart>& parts, CopyDirection direction) {
  std::vector<CopyPart> pieces;
  for (const CopyPart& part : parts) {
    for (int64_t done = 0; done < part.bytes; done += kPieceBytes) {
      pieces.push_back({static_cast<std::byte*>(part.host) + done,
                        static_cast<std::byte*>(part.device) + done,
                        std::min(kPieceBytes, part.bytes - done)});
    }
  }
  static Lanes* lanes = new Lanes();
  const std::lock_guard lock(lanes->mu);
  if (!lanes->made) Make(*lanes);
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  const int count = static_cast<int>(std::min<size_t>(kThreads, pieces.size()));
  for (int t = 1; t < count; ++t) {
    threads.emplace_back([&, t] { Work(device, lanes->lane[t], pieces, next, direction); });
  }
  Work(device, lanes->lane[0], pieces, next, direction);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace worker
