#pragma once

// For programs that show attention.

#include <torch/torch.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "attend/toolkit_export.h"

namespace attend {

/// One attention type of a model: the weights of all its layers and heads.
struct AttentionView {
  std::string name = {};       // "encoder", "decoder", "cross" or another name
  std::string label = {};      // shown on the page: "Cross-attention"
  std::string rows = {};       // the name of the queries' token list
  std::string columns = {};    // the name of the keys' token list
  torch::Tensor weights = {};  // [layers, heads, rows, columns], each in [0, 1]
};

/// A hypothesis in a step of beam search.
struct BeamHypothesis {
  std::vector<std::string> tokens = {};
  double score = 0;       // log-probability so far, in nats
  size_t parent = 0;      // index among those that the previous step kept
  bool kept = false;      // continued by the next step
  bool finished = false;  // ended, and kept as a result
};

/// The content of an attention page.
///
/// Tokens may be any text; they are escaped. Bytes that are not UTF-8 become U+FFFD.
struct AttentionPage {
  std::string title = {};
  std::string model = {};  // its architecture, such as "marian"
  std::map<std::string, std::vector<std::string>> tokens = {};  // token lists by name: "source"
  std::vector<AttentionView> views = {};
  std::vector<std::vector<BeamHypothesis>> beams =
      {};  // one per step; empty if there was no search
};

/// One self-contained HTML page to explore attention: lines between tokens, all heads as
/// thumbnails, one head as a matrix, rollout, entropy, and the steps of beam search. It can be
/// opened from disk and loads nothing else.
///
/// Source: Vig, 2019, arXiv:1906.05714 (head view and model view); Abnar and Zuidema, 2020,
///         arXiv:2005.00928 (rollout).
/// Throws: c10::ValueError without tokens or views, or for weights outside [0, 1]; c10::Error for
///         weights of the wrong shape.
/// Note:   weights are stored as 16-bit fixed-point numbers, a precision of 1 / 65535.
ATTEND_TOOLKIT_API std::string attention_html(const AttentionPage& page);

/// The same as one JSON object, for other programs, with unrounded weights as nested lists
/// [layer][head][row][column]. Throws as above.
ATTEND_TOOLKIT_API std::string attention_json(const AttentionPage& page);

}  // namespace attend
