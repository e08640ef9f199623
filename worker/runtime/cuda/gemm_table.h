// Which cuBLASLt algorithm runs which product, for this process. Plain C++.
#pragma once

#include <string>

namespace worker {

class CudaContext;

// Times the candidates of every product that this context has met since the last call, alone on the
// device among the trials of this process, and puts the winners into the table. Call it after a
// program's first run and before it is captured: algorithms must not change between steps.
void SettleGemms(CudaContext& context);

// For people: how many of the products that this context ran for several seats take one launch.
std::string BatchedGemmsText(CudaContext& context);

// The table as text: a line that names library and device, then one line a shape in a fixed order.
// Its SHA-256 is what provenance carries: the same table, the same bits.
std::string GemmTableText();
// Pins entries: shapes the text names are not timed again. Returns how many it took; 0 when the
// text comes from another library version or device.
int LoadGemmTable(const std::string& text);

}  // namespace worker
