/* The beginning of a convolutional network: a 3x3 convolution of a picture's few channels, and the largest of every 2x2
   of its answers.

   models/stem.py calls it. Such a convolution is little work, but has four times as many answers as the pooling keeps,
   the most of any layer. Here none of them is written, and the gradient looks only at those that were kept.
   For processors with AVX-512 alone. One call is one thread's work. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#include <immintrin.h>

#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#pragma GCC optimize("fp-contract=fast")
#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define TAPS 9

/* What is the same for all pictures of a call. Filters are taken 16 at a time; weights of those that are missing are 0. */
typedef struct {
    int height, width, channels, padding, filters, size; /* size: bytes of an element of the answers, 2 or 4 */
    int high, wide;                                      /* of a padded picture */
    int rows, columns;                                   /* of the answers */
    int blocks;                                          /* of filters */
    float *planes;                                       /* a picture, padded, one channel after another */
    float *weights;                                      /* channel, tap, filter */
} stem;

static int prepare(stem *s) {
    s->high = s->height + 2 * s->padding, s->wide = s->width + 2 * s->padding;
    s->rows = (s->high - 2) / 2, s->columns = (s->wide - 2) / 2;
    s->blocks = (s->filters + LANES - 1) / LANES;
    s->planes = calloc((size_t)s->channels * s->high * s->wide, sizeof(float)); /* its borders stay 0 */
    s->weights = calloc((size_t)s->channels * TAPS * s->blocks * LANES, sizeof(float));
    return s->planes != NULL && s->weights != NULL;
}

static void release(stem *s) {
    free(s->planes);
    free(s->weights);
}

INLINE void spread(const stem *s, const float *image) {
    for (int c = 0; c < s->channels; c++)
        for (int y = 0; y < s->height; y++) {
            float *row = s->planes + ((int64_t)c * s->high + y + s->padding) * s->wide + s->padding;
            const float *from = image + (int64_t)y * s->width * s->channels + c;
            if (s->channels == 1)
                memcpy(row, from, s->width * sizeof(float));
            else
                for (int x = 0; x < s->width; x++)
                    row[x] = from[(int64_t)x * s->channels];
        }
}

INLINE __mmask16 filled(const stem *s, int block) {
    const int left = s->filters - block * LANES;
    return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}

INLINE void put(char *y, __m512 values, int size, __mmask16 lanes) {
    if (size == 4) {
        _mm512_mask_storeu_ps(y, lanes, values);
        return;
    }
    const __m512i bits = _mm512_castps_si512(values), one = _mm512_set1_epi32(1);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one); /* to the nearest, ties to even */
    const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    _mm256_mask_storeu_epi16(y, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

INLINE __m512 get(const char *y, int size, __mmask16 lanes) {
    if (size == 4)
        return _mm512_maskz_loadu_ps(lanes, y);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, y)), 16));
}

/* Answer for `pairs` windows beside each other and `vectors` blocks of filters. */
INLINE void windows(const stem *s, const float *x, const float *bias, char *y, uint8_t *places, int block,
                    const int vectors, const int pairs) {
    __m512 sums[2][4][2];
    for (int r = 0; r < 2; r++)
        for (int q = 0; q < 2 * pairs; q++)
            for (int v = 0; v < vectors; v++)
                sums[r][q][v] = _mm512_setzero_ps();
    const float *weights = s->weights + block * LANES;
    for (int c = 0; c < s->channels; c++, x += (int64_t)s->high * s->wide)
#pragma GCC unroll 9
        for (int tap = 0; tap < TAPS; tap++, weights += s->blocks * LANES) {
            const float *at = x + tap / 3 * s->wide + tap % 3;
#pragma GCC unroll 2
            for (int r = 0; r < 2; r++)
#pragma GCC unroll 4
                for (int q = 0; q < 2 * pairs; q++) {
                    const __m512 value = _mm512_set1_ps(at[r * s->wide + q]);
#pragma GCC unroll 2
                    for (int v = 0; v < vectors; v++)
                        sums[r][q][v] = _mm512_fmadd_ps(_mm512_loadu_ps(weights + v * LANES), value, sums[r][q][v]);
                }
        }
    for (int p = 0; p < pairs; p++)
        for (int v = 0; v < vectors; v++) {
            const __mmask16 lanes = filled(s, block + v);
            const int64_t to = (int64_t)p * s->filters + (block + v) * LANES;
            __m512 most = sums[0][2 * p][v];
            __m512i place = _mm512_setzero_si512();
            for (int tap = 1; tap < 4; tap++) { /* the first of several, or the last that is no number, as torch does */
                const __m512 value = sums[tap / 2][2 * p + tap % 2][v];
                const __mmask16 more = _mm512_cmp_ps_mask(value, most, _CMP_GT_OQ) |
                                       _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
                most = _mm512_mask_mov_ps(most, more, value);
                place = _mm512_mask_set1_epi32(place, more, tap);
            }
            most = _mm512_add_ps(most, _mm512_maskz_loadu_ps(lanes, bias + (block + v) * LANES));
            put(y + to * s->size, most, s->size, lanes);
            _mm_mask_storeu_epi8(places + to, lanes, _mm512_cvtepi32_epi8(place));
        }
}

INLINE void answer(const stem *s, const float *bias, char *y, uint8_t *places, const int vectors, int block) {
    for (int i = 0; i < s->rows; i++)
        for (int j = 0; j < s->columns; j += 2) {
            const float *x = s->planes + 2 * (i * s->wide + j);
            const int64_t to = (int64_t)(i * s->columns + j) * s->filters;
            if (j + 1 < s->columns)
                windows(s, x, bias, y + to * s->size, places + to, block, vectors, 2);
            else
                windows(s, x, bias, y + to * s->size, places + to, block, vectors, 1);
        }
}

/* Add what a block of filters learns from one channel of a picture: for each tap, the gradients of the answers times the
   pixels that the largest of their windows came from, which lie in 4x4 of them. */
INLINE void learn(const stem *s, const char *gradient, const uint8_t *places, int block, const float *plane,
                  __m512 *sums) {
    const __mmask16 lanes = filled(s, block);
    __m512 found[TAPS];
    for (int tap = 0; tap < TAPS; tap++)
        found[tap] = sums[tap];
    for (int i = 0; i < s->rows; i++)
        for (int j = 0; j < s->columns; j++) {
            const int64_t from = (int64_t)(i * s->columns + j) * s->filters + block * LANES;
            const float *x = plane + 2 * (i * s->wide + j);
            __m512 pixels = _mm512_castps128_ps512(_mm_loadu_ps(x));
            pixels = _mm512_insertf32x4(pixels, _mm_loadu_ps(x + s->wide), 1);
            pixels = _mm512_insertf32x4(pixels, _mm_loadu_ps(x + 2 * s->wide), 2);
            pixels = _mm512_insertf32x4(pixels, _mm_loadu_ps(x + 3 * s->wide), 3);
            const __m512i place = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, places + from));
            const __m512i row = _mm512_slli_epi32(_mm512_srli_epi32(place, 1), 2);
            const __m512i first = _mm512_add_epi32(row, _mm512_and_si512(place, _mm512_set1_epi32(1)));
            const __m512 values = get(gradient + from * s->size, s->size, lanes);
#pragma GCC unroll 9
            for (int tap = 0; tap < TAPS; tap++) {
                const __m512i at = _mm512_add_epi32(first, _mm512_set1_epi32(tap / 3 * 4 + tap % 3));
                found[tap] = _mm512_fmadd_ps(_mm512_permutexvar_ps(at, pixels), values, found[tap]);
            }
        }
    for (int tap = 0; tap < TAPS; tap++)
        sums[tap] = found[tap];
}

INLINE __m512 total(const stem *s, const char *gradient, int block) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < (int64_t)s->rows * s->columns; i++)
        sum = _mm512_add_ps(sum, get(gradient + (i * s->filters + block * LANES) * s->size, s->size, filled(s, block)));
    return sum;
}

/* Say whether this processor can. */
int keensight_has_stem(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/* Pictures `x` are float32 NHWC, `weight` is OCHW of 3x3, `bias` has a number for each filter; `y` and `places` become
   the answers, NHWC, and which of its window each was. Return 0 where there is no memory. */
int keensight_stem(const float *x, const float *weight, const float *bias, char *y, uint8_t *places, int64_t images,
                   int height, int width, int channels, int padding, int filters, int size) {
    stem s = {height, width, channels, padding, filters, size};
    const int ready = prepare(&s);
    if (ready) {
        for (int o = 0; o < filters; o++)
            for (int k = 0; k < channels * TAPS; k++)
                s.weights[(int64_t)k * s.blocks * LANES + o] = weight[(int64_t)o * channels * TAPS + k];
        const int64_t answers = (int64_t)s.rows * s.columns * filters;
        for (int64_t image = 0; image < images; image++, y += answers * size, places += answers) {
            spread(&s, x + image * height * width * channels);
            for (int block = 0; block < s.blocks; block += 2)
                if (block + 1 < s.blocks)
                    answer(&s, bias, y, places, 2, block);
                else
                    answer(&s, bias, y, places, 1, block);
        }
    }
    release(&s);
    return ready;
}

/* `gradient` is of the answers, `weight` and `bias` become the gradients of those. */
int keensight_stem_backward(const float *x, const char *gradient, const uint8_t *places, float *weight, float *bias,
                            int64_t images, int height, int width, int channels, int padding, int filters, int size) {
    stem s = {height, width, channels, padding, filters, size};
    __m512 *sums = NULL; /* block, channel, tap; and a bias */
    const int ready = prepare(&s);
    const int each = channels * TAPS + 1;
    if (!ready || posix_memalign((void **)&sums, sizeof(__m512), sizeof(__m512) * s.blocks * each)) {
        release(&s);
        return 0;
    }
    memset(sums, 0, sizeof(__m512) * s.blocks * each);
    const int64_t answers = (int64_t)s.rows * s.columns * filters;
    for (int64_t image = 0; image < images; image++, gradient += answers * size, places += answers) {
        spread(&s, x + image * height * width * channels);
        for (int block = 0; block < s.blocks; block++) {
            for (int c = 0; c < channels; c++)
                learn(&s, gradient, places, block, s.planes + (int64_t)c * s.high * s.wide,
                      sums + block * each + c * TAPS);
            __m512 *sum = sums + block * each + each - 1;
            *sum = _mm512_add_ps(*sum, total(&s, gradient, block));
        }
    }
    for (int o = 0; o < filters; o++) {
        for (int k = 0; k < each - 1; k++)
            weight[(int64_t)o * (each - 1) + k] = sums[o / LANES * each + k][o % LANES];
        bias[o] = sums[o / LANES * each + each - 1][o % LANES];
    }
    free(sums);
    release(&s);
    return 1;
}

#else

int keensight_has_stem(void) { return 0; }

int keensight_stem(const float *x, const float *weight, const float *bias, char *y, uint8_t *places, int64_t images,
                   int height, int width, int channels, int padding, int filters, int size) {
    return 0;
}

int keensight_stem_backward(const float *x, const char *gradient, const uint8_t *places, float *weight, float *bias,
                            int64_t images, int height, int width, int channels, int padding, int filters, int size) {
    return 0;
}

#endif
