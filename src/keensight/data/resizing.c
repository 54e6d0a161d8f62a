/* What Pillow's resize with Resampling.BILINEAR does to colour pictures, to the bit, in a third of the time.

   Compiled when keensight is installed, where there is a C compiler; resizing.py calls it. Without it Pillow does the
   same, one level at a time. Weights are integers of 22 bits; pictures are resized sideways, rounded to 8 bits, and then
   resized downwards. As weights are positive and their sum is 1, no level leaves [0, 255], and nothing is clipped. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BITS 22
#define HALF (1 << (BITS - 1))
#define LANES 16

typedef int32_t pixel __attribute__((vector_size(16)));

/* Of the weights of one output: the first input, how many there are, and they. */
typedef struct {
    int first, count;
    int32_t *weights;
} taps;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
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

/* `from` has 4 bytes a pixel, and `to` 3. `wide` is room for the row in 32 bits. */
FOR_THIS_PROCESSOR
static void sideways(const uint8_t *from, int before, uint8_t *to, int after, const taps *across, int32_t *wide) {
    for (int i = 0; i < 4 * before; i++)
        wide[i] = from[i];
    for (int x = 0; x < after; x++) {
        pixel sum = {HALF, HALF, HALF, HALF};
        const int32_t *at = wide + 4 * (size_t)across[x].first;
        for (int i = 0; i < across[x].count; i++) {
            pixel one;
            memcpy(&one, at + 4 * i, sizeof one);
            sum += one * across[x].weights[i];
        }
        sum >>= BITS;
        for (int c = 0; c < 3; c++)
            to[3 * x + c] = sum[c];
    }
}

/* `from` is the first of the rows to be weighed, `stride` bytes apart, and whole blocks of LANES long. */
FOR_THIS_PROCESSOR
static void downwards(const uint8_t *from, size_t stride, uint8_t *to, int length, const taps *down) {
    for (int x = 0; x < length; x += LANES) {
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

/* Resize `from`, RGBX, to `to`, RGB. Sides may shrink to more than a quarter, and grow. Returns 0 if there is no memory. */
int keensight_resize(const uint8_t *from, int height, int width, uint8_t *to, int new_height, int new_width) {
    enum { MOST = 12 }; /* 2 * 4 + 1, and some */
    int both = new_height + new_width;
    size_t stride = ((size_t)new_width * 3 + LANES) / LANES * LANES;
    taps *down = malloc(both * (sizeof(taps) + MOST * sizeof(int32_t)) + 16 * (size_t)width + stride * height);
    if (!down)
        return 0;
    taps *across = down + new_height;
    int32_t *room = (int32_t *)(down + both);
    int32_t *wide = room + (size_t)both * MOST;
    uint8_t *between = (uint8_t *)(wide + 4 * (size_t)width);
    weigh(height, new_height, down, room, MOST);
    weigh(width, new_width, across, room + (size_t)new_height * MOST, MOST);
    for (int y = 0; y < height; y++)
        sideways(from + (size_t)4 * width * y, width, between + stride * y, new_width, across, wide);
    for (int y = 0; y < new_height; y++)
        downwards(between + stride * down[y].first, stride, to + (size_t)3 * new_width * y, 3 * new_width, &down[y]);
    free(down);
    return 1;
}
