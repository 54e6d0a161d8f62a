/* The kernels for one instruction set: LANES float32 fit into a register of it, and ONE(name) is a name of its own.
   layers.c includes this file once for each.

   Elements are float32, or bfloat16, which is the upper half of a float32; `size` is 4 or 2 bytes. Pictures have their
   channels last (NHWC). */

typedef float ONE(floats) __attribute__((vector_size(4 * LANES)));
typedef int32_t ONE(ints) __attribute__((vector_size(4 * LANES)));
typedef uint32_t ONE(words) __attribute__((vector_size(4 * LANES)));
typedef uint16_t ONE(halves) __attribute__((vector_size(2 * LANES)));
typedef uint8_t ONE(bytes) __attribute__((vector_size(LANES)));
#define floats ONE(floats)
#define ints ONE(ints)
#define words ONE(words)
#define halves ONE(halves)
#define bytes ONE(bytes)

#define choose ONE(choose)
INLINE floats choose(ints yes, floats a, floats b) { return (floats)((yes & (ints)a) | (~yes & (ints)b)); }

/* Load n of the lanes; the others are 0. */
#define load ONE(load)
INLINE floats load(const char *at, int size, int n) {
    if (size == 4) {
        floats values = {0};
        memcpy(&values, at, 4 * n);
        return values;
    }
    halves upper = {0};
    memcpy(&upper, at, 2 * n);
    return (floats)(__builtin_convertvector(upper, words) << 16);
}

/* Store n of the lanes, rounded to the nearest, ties to even. */
#define store ONE(store)
INLINE void store(char *at, floats values, int size, int n) {
    if (size == 4) {
        memcpy(at, &values, 4 * n);
        return;
    }
    words bits = (words)values;
    halves upper = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
    memcpy(at, &upper, 2 * n);
}

/* Do something for all channels, LANES at a time; the last vector reaches back where they are no multiple of that. */
#define ALONG(channels, something)                                                                                     \
    if (channels < LANES) {                                                                                            \
        const int c = 0, n = (int)channels;                                                                            \
        something                                                                                                      \
    } else                                                                                                             \
        for (int64_t next = 0; next < channels; next += LANES) {                                                       \
            const int n = LANES;                                                                                       \
            const int64_t c = next + LANES <= channels ? next : channels - LANES;                                      \
            something                                                                                                  \
        }

#define signed_bits ONE(signed_bits)
INLINE ints signed_bits(const int16_t *bits, int n) {
    halves narrow = {0};
    memcpy(&narrow, bits, 2 * n);
    return (ints)(__builtin_convertvector(narrow, words) << 16) >> 16;
}

/* Write the largest of each window, and which of its places held it: the first of several, or the last that is no
   number, as torch does. With `relu`, what is not above 0 becomes 0; with `bits`, dropout comes last (see `drop`). The
   place of what becomes 0 is NOWHERE. */
#define pool_windows ONE(pool_windows)
INLINE void pool_windows(const char *x, char *y, uint8_t *places, int64_t images, int64_t height, int64_t width,
                         int64_t channels, const int kernel, const int stride, const int size, const int relu,
                         const int16_t *bits, int32_t least, float scale) {
    const int64_t high = (height - kernel) / stride + 1, wide = (width - kernel) / stride + 1;
    for (int64_t image = 0; image < images; image++)
        for (int64_t i = 0; i < high; i++)
            for (int64_t j = 0; j < wide; j++) {
                const char *window = x + ((image * height + i * stride) * width + j * stride) * channels * size;
                ALONG(channels, {
                    floats most = load(window + c * size, size, n);
                    ints place = {0};
                    for (int tap = 1; tap < kernel * kernel; tap++) {
                        const int64_t offset = ((tap / kernel) * width + tap % kernel) * channels + c;
                        const floats value = load(window + offset * size, size, n);
                        const ints more = (value > most) | (value != value);
                        most = choose(more, value, most);
                        place = (more & tap) | (~more & place);
                    }
                    if (relu) {
                        const ints low = most <= 0;
                        most = choose(low, (floats){0}, most);
                        place = (low & NOWHERE) | (~low & place);
                    }
                    if (bits) {
                        const ints kept = signed_bits(bits + c, n) >= least;
                        most *= (floats)(kept & (ints)((floats){0} + scale));
                        place = (kept & place) | (~kept & NOWHERE);
                    }
                    store(y + c * size, most, size, n);
                    const bytes narrow = __builtin_convertvector(__builtin_convertvector(place, halves), bytes);
                    memcpy(places + c, &narrow, n);
                })
                y += channels * size;
                places += channels;
                if (bits) bits += channels;
            }
}

/* Return the gradients of a window's answers, 0 where the largest was not at the place `tap`. */
#define share ONE(share)
INLINE floats share(floats gradients, const uint8_t *places, int tap, int n) {
    bytes narrow = {0};
    memcpy(&narrow, places, n);
    const words wide = __builtin_convertvector(__builtin_convertvector(narrow, halves), words); /* gcc is slow at once */
    return (floats)(((ints)wide == tap) & (ints)gradients);
}

/* Write the gradient of every input, where each is in one window at most, times `scale`. */
#define unpool_tiles ONE(unpool_tiles)
INLINE void unpool_tiles(const char *gradient, const uint8_t *places, char *x, int64_t images, int64_t height,
                         int64_t width, int64_t channels, const int kernel, const int size, float scale) {
    const int64_t high = height / kernel, wide = width / kernel, row = width * channels * size;
    for (int64_t image = 0; image < images; image++, x += height * row) {
        for (int64_t i = 0; i < high; i++) {
            for (int64_t j = 0; j < wide; j++, gradient += channels * size, places += channels) {
                char *window = x + i * kernel * row + j * kernel * channels * size;
                ALONG(channels, {
                    const floats gradients = load(gradient + c * size, size, n) * scale;
                    for (int tap = 0; tap < kernel * kernel; tap++)
                        store(window + (tap / kernel) * row + ((tap % kernel) * channels + c) * size,
                              share(gradients, places + c, tap, n), size, n);
                })
            }
            for (int64_t h = i * kernel; h < (i + 1) * kernel; h++) /* what no window has, at the right */
                memset(x + h * row + wide * kernel * channels * size, 0, (width - wide * kernel) * channels * size);
        }
        memset(x + high * kernel * row, 0, (height - high * kernel) * row); /* and below */
    }
}

/* Write the gradient of every input: the sum of those of the windows that it was the largest of. */
#define unpool_windows ONE(unpool_windows)
INLINE void unpool_windows(const char *gradient, const uint8_t *places, char *x, int64_t images, int64_t height,
                           int64_t width, int64_t channels, const int kernel, const int stride, const int size) {
    const int64_t high = (height - kernel) / stride + 1, wide = (width - kernel) / stride + 1;
    for (int64_t image = 0; image < images; image++)
        for (int64_t h = 0; h < height; h++) {
            const int64_t top = h < kernel ? 0 : (h - kernel) / stride + 1;
            const int64_t below = h / stride < high ? h / stride + 1 : high;
            for (int64_t w = 0; w < width; w++, x += channels * size) {
                const int64_t left = w < kernel ? 0 : (w - kernel) / stride + 1;
                const int64_t right = w / stride < wide ? w / stride + 1 : wide;
                ALONG(channels, {
                    floats sum = {0};
                    for (int64_t i = top; i < below; i++)
                        for (int64_t j = left; j < right; j++) {
                            const int64_t at = ((image * high + i) * wide + j) * channels + c;
                            const int tap = (int)((h - i * stride) * kernel + w - j * stride);
                            sum += share(load(gradient + at * size, size, n), places + at, tap, n);
                        }
                    store(x + c * size, sum, size, n);
                })
            }
        }
}

/* The sizes that networks have are compiled for themselves, which lets the compiler unroll the windows. */
#define FOR_SIZES(work)                                                                                                \
    if (kernel == 2 && stride == 2 && size == 2) { work(2, 2, 2); }                                                    \
    else if (kernel == 2 && stride == 2) { work(2, 2, 4); }                                                            \
    else if (kernel == 3 && stride == 2 && size == 2) { work(3, 2, 2); }                                               \
    else if (kernel == 3 && stride == 2) { work(3, 2, 4); }                                                            \
    else if (size == 2) { work(kernel, stride, 2); }                                                                   \
    else { work(kernel, stride, 4); }

static void ONE(pool)(const char *x, char *y, uint8_t *places, int64_t images, int64_t height, int64_t width,
                      int64_t channels, int kernel, int stride, int size, int relu, const int16_t *bits, int32_t least,
                      float scale) {
#define WORK(k, s, b)                                                                                                  \
    if (bits) pool_windows(x, y, places, images, height, width, channels, k, s, b, 1, bits, least, scale);             \
    else if (relu) pool_windows(x, y, places, images, height, width, channels, k, s, b, 1, 0, 0, 1);                   \
    else pool_windows(x, y, places, images, height, width, channels, k, s, b, 0, 0, 0, 1)
    FOR_SIZES(WORK)
#undef WORK
}

static void ONE(pool_backward)(const char *gradient, const uint8_t *places, char *x, int64_t images, int64_t height,
                               int64_t width, int64_t channels, int kernel, int stride, int size, float scale) {
#define WORK(k, s, b)                                                                                                  \
    if (k == s) unpool_tiles(gradient, places, x, images, height, width, channels, k, b, scale);                       \
    else unpool_windows(gradient, places, x, images, height, width, channels, k, s, b)
    FOR_SIZES(WORK)
#undef WORK
}

/* Scale the elements whose 16 random bits reach `least`, and multiply the others by 0. */
#define drop ONE(drop)
INLINE void drop(const char *x, const int16_t *bits, char *y, int64_t count, int32_t least, float scale,
                 const int size) {
    int n = LANES;
    for (int64_t at = 0; at < count; at += LANES) {
        if (count - at < LANES) n = (int)(count - at);
        const floats factor = (floats)((signed_bits(bits + at, n) >= least) & (ints)((floats){0} + scale));
        store(y + at * size, load(x + at * size, size, n) * factor, size, n);
    }
}

static void ONE(dropout)(const char *x, const int16_t *bits, char *y, int64_t count, int32_t least, float scale,
                         int size) {
    if (size == 2) drop(x, bits, y, count, least, scale, 2);
    else drop(x, bits, y, count, least, scale, 4);
}

#undef floats
#undef ints
#undef words
#undef halves
#undef bytes
#undef choose
#undef load
#undef store
#undef ALONG
#undef signed_bits
#undef pool_windows
#undef share
#undef unpool_tiles
#undef unpool_windows
#undef FOR_SIZES
#undef drop
