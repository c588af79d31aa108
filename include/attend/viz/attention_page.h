#pragma once

// For programs that show attention.

#include <torch/torch.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// One kind of attention of a model: the weights of all its layers and heads.
struct AttentionView {
  std::string name = {};       // "encoder", "decoder", "cross", or another word for what it is
  std::string label = {};      // as a reader sees it: "Cross-attention"
  std::string rows = {};       // the list of tokens that the queries are
  std::string columns = {};    // the list of tokens that the keys are
  torch::Tensor weights = {};  // [layers, heads, rows, columns], each in [0, 1]
};

/// A hypothesis of a step of beam search.
struct BeamHypothesis {
  std::vector<std::string> tokens = {};
  double score = 0;       // log-probability so far, in nats
  size_t parent = 0;      // among those that the step before kept, in their order
  bool kept = false;      // continued by the next step
  bool finished = false;  // ended, one of the results
};

/// The content of a page of attention.
///
/// Tokens may hold any text: they are shown as text, never interpreted. Bytes that are not UTF-8
/// become U+FFFD.
struct AttentionPage {
  std::string title = {};
  std::string model = {};  // its architecture, such as "marian"
  std::map<std::string, std::vector<std::string>> tokens = {};  // lists of them by name: "source"
  std::vector<AttentionView> views = {};
  std::vector<std::vector<BeamHypothesis>> beams =
      {};  // one a step; empty where there was no search
};

/// One self-contained HTML page to explore attention in: lines between tokens, all heads as
/// thumbnails, one head as a matrix, rollout, entropy, and the steps of beam search. It opens from
/// disk and loads nothing.
///
/// Source: Vig, 2019, arXiv:1906.05714 (head view and model view); Abnar and Zuidema, 2020,
///         arXiv:2005.00928 (rollout).
/// Throws: c10::ValueError without tokens or views, or for weights that are not numbers in [0, 1];
///         c10::Error for weights of another shape.
/// Note:   weights are stored in 16 bits, to 1 / 65535.
ATTEND_TOOLKIT_API std::string attention_html(const AttentionPage& page);

/// The same as one JSON object, for other programs: weights as nested lists [layer][head][row]
/// [column] of the numbers as they are. Throws as above.
ATTEND_TOOLKIT_API std::string attention_json(const AttentionPage& page);

}  // namespace attend
