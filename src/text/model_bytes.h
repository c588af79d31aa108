#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attend::detail {

/// The first defect in the bytes of a SentencePiece model that would make SentencePiece access
/// memory out of bounds, such as "a piece of 200000 bytes": normaliser tables with offsets outside
/// the table, very long pieces, pieces with a NUL. nullopt if there is none. Whether the bytes are
/// a model at all is left to SentencePiece.
///
/// Source: sentencepiece_model.proto (field numbers); SentencePiece 0.2.3, which rejects the same
///         defects (`DoubleArrayImpl::validate`, `ModelInterface::InitializePieces`).
std::optional<std::string> unsafe_part(std::string_view model);

}  // namespace attend::detail
