/* What Pillow's resize with Resampling.BILINEAR does to colour pictures, to the bit, in a fraction of the time.

   data/resizing.py calls it. Pillow does it one level at a time. Weights are integers of 22 bits; pictures are resized
   sideways, rounded to 8 bits, and then resized downwards, or tall ones the other way round. As weights are positive
   and their sum is 1, no level leaves [0, 255], and nothing is clipped. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BITS 22
#define HALF (1 << (BITS - 1))
#define LANES 16

#define ROWS 4

/* Of the weights of one output: the first input, how many there are, and they. */
typedef struct {
    int first, count;
    int32_t *weights;
} taps;

/* GCC 12 makes twice as slow code of this for AVX2 (x86-64-v3) as for SSE4 (v2): 205 us against 101 for 224 to 128 pixels;
   for AVX-512 50, and 147 by default. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

/* Fill `found` for resizing from `before` to `after`; `room` has space for all weights. */
static void weigh(int before, int after, taps *found, int32_t *room, int most) {
    double scale = (double)before / after, spread = scale < 1 ? 1 : scale, narrow = 1 / spread;
    for (int to = 0; to < after; to++) {
        double centre = (to + 0.5) * scale, sum = 0, parts[16];
        int first = (int)(centre - spread + 0.5), end = (int)(centre + spread + 0.5);
        first = first < 0 ? 0 : first;
        end = end > before ? before : end;
        for (int i = first; i < end; i++) {
            double part = 1 - fabs((i - centre + 0.5) * narrow);
            sum += parts[i - first] = part > 0 ? part : 0;
        }
        found[to] = (taps){first, end - first, room + (size_t)to * most};
        for (int i = 0; i < end - first; i++)
            found[to].weights[i] = (int32_t)(0.5 + parts[i] / sum * (1 << BITS));
    }
}

/* Resize ROWS rows at a time, `from_stride` and `to_stride` bytes apart. `from` has 4 bytes a pixel; `to` has 3, and
   a byte more. `mixed` is room for the rows: the first pixel of each, then the second of each, and so on. */
FOR_THIS_PROCESSOR
static void sideways(const uint8_t *from, size_t from_stride, int before, uint8_t *to, size_t to_stride, int after,
                     const taps *across, uint8_t *mixed) {
    for (int x = 0; x < before; x++)
        for (int row = 0; row < ROWS; row++)
            memcpy(mixed + 4 * (ROWS * (size_t)x + row), from + row * from_stride + 4 * (size_t)x, 4);
    for (int x = 0; x < after; x++) {
        const uint8_t *at = mixed + 4 * ROWS * (size_t)across[x].first;
        int32_t sum[4 * ROWS];
        uint8_t rounded[4 * ROWS];
        for (int c = 0; c < 4 * ROWS; c++)
            sum[c] = HALF;
        for (int i = 0; i < across[x].count; i++)
            for (int c = 0; c < 4 * ROWS; c++)
                sum[c] += at[4 * ROWS * i + c] * across[x].weights[i];
        for (int c = 0; c < 4 * ROWS; c++)
            rounded[c] = sum[c] >> BITS;
        for (int row = 0; row < ROWS; row++) /* the next pixel overwrites the fourth byte */
            memcpy(to + row * to_stride + 3 * (size_t)x, rounded + 4 * row, 4);
    }
}

/* `from` is the first of the rows to be weighed, `stride` bytes apart. The last block of LANES bytes reaches back; rows of
   fewer bytes are followed by as many more as a block has. */
FOR_THIS_PROCESSOR
static void downwards(const uint8_t *from, size_t stride, uint8_t *to, int length, const taps *down) {
    for (int next = 0; next < length; next += LANES) {
        int x = next + LANES <= length || length < LANES ? next : length - LANES;
        int32_t sum[LANES];
        uint8_t rounded[LANES];
        for (int c = 0; c < LANES; c++)
            sum[c] = HALF;
        for (int i = 0; i < down->count; i++)
            for (int c = 0; c < LANES; c++)
                sum[c] += from[i * stride + x + c] * down->weights[i];
        for (int c = 0; c < LANES; c++)
            rounded[c] = sum[c] >> BITS;
        memcpy(to + x, rounded, length - x < LANES ? length - x : LANES);
    }
}

/* Resize rows sideways; `to` has rows of `to_stride` bytes, 3 a pixel and one more. */
static void all_sideways(const uint8_t *from, int height, int width, uint8_t *to, size_t to_stride, int new_width,
                         const taps *across, uint8_t *mixed) {
    size_t from_stride = (size_t)4 * width;
    int y = 0;
    for (; y + ROWS <= height; y += ROWS)
        sideways(from + from_stride * y, from_stride, width, to + to_stride * y, to_stride, new_width, across, mixed);
    for (; y < height; y++) /* alone: as ROWS rows in one place */
        sideways(from + from_stride * y, 0, width, to + to_stride * y, 0, new_width, across, mixed);
}

/* Resize `from`, RGBX, to `to`, RGB. Sides may shrink to more than a quarter, and grow; a picture that is resized
   downwards first is 4 pixels wide or more. Returns 0 if there is no memory. */
int keensight_resize(const uint8_t *from, int height, int width, uint8_t *to, int new_height, int new_width,
                     int downwards_first) {
    enum { MOST = 12 }; /* 2 * 4 + 1, and some */
    int both = new_height + new_width;
    size_t stride = ((size_t)new_width * 3 + LANES) / LANES * LANES;
    size_t between_bytes = stride * height, flat_bytes = 0;
    if (downwards_first) {
        between_bytes = (size_t)4 * width * new_height;
        flat_bytes = stride * new_height;
    }
    taps *down = malloc(both * (sizeof(taps) + MOST * sizeof(int32_t)) + 4 * ROWS * (size_t)width + between_bytes +
                        flat_bytes);
    if (!down)
        return 0;
    taps *across = down + new_height;
    int32_t *room = (int32_t *)(down + both);
    uint8_t *mixed = (uint8_t *)(room + (size_t)both * MOST), *between = mixed + 4 * ROWS * (size_t)width;
    weigh(height, new_height, down, room, MOST);
    weigh(width, new_width, across, room + (size_t)new_height * MOST, MOST);
    if (downwards_first) {
        uint8_t *flat = between + between_bytes;
        size_t whole = (size_t)4 * width;
        for (int y = 0; y < new_height; y++)
            downwards(from + whole * down[y].first, whole, between + whole * y, 4 * width, &down[y]);
        all_sideways(between, new_height, width, flat, stride, new_width, across, mixed);
        for (int y = 0; y < new_height; y++)
            memcpy(to + (size_t)3 * new_width * y, flat + stride * y, (size_t)3 * new_width);
    } else {
        all_sideways(from, height, width, between, stride, new_width, across, mixed);
        for (int y = 0; y < new_height; y++)
            downwards(between + stride * down[y].first, stride, to + (size_t)3 * new_width * y, 3 * new_width, &down[y]);
    }
    free(down);
    return 1;
}
