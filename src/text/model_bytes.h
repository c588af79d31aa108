#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attend::detail {

/// What in the bytes of a SentencePiece model would lead SentencePiece out of its memory, such as "a
/// piece of 200000 bytes": tables of a normaliser that point outside of themselves, very long
/// pieces, pieces with a NUL. None where there is no such thing; whether the bytes are a model at
/// all, SentencePiece itself tells.
///
/// Source: sentencepiece_model.proto (field numbers); SentencePiece 0.2.3, which refuses the same
///         (`DoubleArrayImpl::validate`, `ModelInterface::InitializePieces`).
std::optional<std::string> unsafe_part(std::string_view model);

}  // namespace attend::detail
