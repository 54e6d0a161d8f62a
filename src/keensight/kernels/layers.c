/* What a convolutional network does besides convolutions and products: pooling, with or without ReLU and dropout,
   and dropout alone, forward and backward.

   models/pooling.py and models/dropout.py call it. torch does the same, with the same results, several times slower: its
   pooling keeps 8 bytes of index for each answer, and clears the whole gradient before it fills it. One call is one
   thread's work. */

#include <stdint.h>
#include <string.h>

#define NOWHERE 255 /* the place of an answer that has no gradient */
#define INLINE static inline __attribute__((always_inline))

#define LANES 4
#define ONE(name) name##_any
#include "layers.h"
#undef LANES
#undef ONE
#define BEST(name) name##_any

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define LANES 8
#define ONE(name) name##_v3
#include "layers.h"
#undef LANES
#undef ONE
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#define LANES 16
#define ONE(name) name##_v4
#include "layers.h"
#undef LANES
#undef ONE
#pragma GCC pop_options

#undef BEST
#define BEST(name)                                                                                                     \
    (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? name##_v4                              \
     : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")        ? name##_v3                              \
                                                                              : name##_any)
#endif

void keensight_pool(const char *x, char *y, uint8_t *places, int64_t images, int64_t height, int64_t width,
                    int64_t channels, int kernel, int stride, int size, int relu, const int16_t *bits, int32_t least,
                    float scale) {
    BEST(pool)(x, y, places, images, height, width, channels, kernel, stride, size, relu, bits, least, scale);
}

/* `gradient` and `places` are of the answers, `x` becomes the gradient of what came; sizes are of the latter. Where
   windows overlap, the scale is 1. */
void keensight_pool_backward(const char *gradient, const uint8_t *places, char *x, int64_t images, int64_t height,
                             int64_t width, int64_t channels, int kernel, int stride, int size, float scale) {
    BEST(pool_backward)(gradient, places, x, images, height, width, channels, kernel, stride, size, scale);
}

/* The gradient of dropout is dropout of the gradient, with the same bits. */
void keensight_dropout(const char *x, const int16_t *bits, char *y, int64_t count, int32_t least, float scale,
                       int size) {
    BEST(dropout)(x, bits, y, count, least, scale, size);
}
