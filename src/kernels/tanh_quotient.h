#pragma once

namespace attend::kernels {

/// tanh x in float32 as x P(x^2) / Q(x^2), for |x| up to kTanhBound, from where on it is 1: the quotient
/// of two polynomials of degree 4 with the least relative error, 2.1e-8; 6 units in the last place with
/// all rounding. kTanhP4 belongs to x^8. Single numbers, since device code cannot read an array of the host's.
constexpr float kTanhBound = 9.0F;
constexpr float kTanhP4 = 1.33548928375e-8F, kTanhP3 = 2.06092663608e-5F,
                kTanhP2 = 3.49560008524e-3F, kTanhP1 = 0.133810359844F, kTanhP0 = 0.999999979542F;
constexpr float kTanhQ4 = 7.77665798511e-7F, kTanhQ3 = 3.28565382218e-4F,
                kTanhQ2 = 2.58770285302e-2F, kTanhQ1 = 0.467143515994F, kTanhQ0 = 1.0F;

}  // namespace attend::kernels
