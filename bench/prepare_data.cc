#include <cstdio>

#include "worker/data/prepare.h"
int main(int argc, char** argv) {
  worker::PrepareOptions o;
  o.root = argv[1];
  o.sources = {{"code", {"**/*.c", "**/*.h"}, 45 << 20},
               {"docs", {"**/*.rst", "**/*.txt"}, 12 << 20}};
  o.vocab_size = std::atoi(argv[3]);
  o.holdout_fraction = 0.005;
  o.tokenizer_sample_bytes = 4 << 20;
  std::string last;
  auto r = worker::PrepareData(o, argv[2], [&](const std::string& s, double) {
    if (s != last) std::printf("%s\n", (last = s).c_str());
  });
  if (!r.ok()) {
    std::printf("%s\n", std::string(r.status().message()).c_str());
    return 1;
  }
  std::printf(
      "reused %d docs %ld heldout %ld (%ld tokens) dropped %ld (%ld bytes) bytes/token %.3f\n",
      r->reused, r->documents, r->heldout_documents, r->manifest.heldout.tokens,
      r->dropped_near_duplicates, r->dropped_bytes, r->bytes_per_token);
  for (auto& s : r->manifest.sources) std::printf("%s %ld tokens\n", s.name.c_str(), s.tokens);
}
