/* Pictures turned, sheared, zoomed, shifted and flipped: an affine map, and bilinear interpolation of what it points at.

   data/augment.py calls it. It computes what torch's affine_grid and grid_sample do (align_corners=False), up to the
   rounding of float32, without their grid in memory, and leaves channels last (NHWC), as the first layer wants them. */

#include <math.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define PIECE 64 /* pixels of a row whose sources are worked out at a time */

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

/* One axis of a source: the two pixels that it lies between, and what each weighs; one outside weighs nothing. */
typedef struct {
    int32_t first[PIECE], second[PIECE];
    float weight_of_first[PIECE], weight_of_second[PIECE];
} between;

/* Find the neighbours of `start + i * step`, pixels of an axis of `size`. */
INLINE void find(between *found, float start, float step, int size, int border, int count) {
    const float least = border ? 0.0f : -2.0f, most = border ? size - 1.0f : size + 1.0f;
    for (int i = 0; i < count; i++) {
        float at = start + (float)i * step;
        at = at < least ? least : at > most ? most : at;
        const float below = floorf(at), part = at - below;
        const int first = (int)below, second = first + 1;
        found->weight_of_first[i] = first >= 0 && first < size ? 1.0f - part : 0.0f;
        found->weight_of_second[i] = second >= 0 && second < size ? part : 0.0f;
        found->first[i] = first < 0 ? 0 : first < size ? first : size - 1;
        found->second[i] = second < 0 ? 0 : second < size ? second : size - 1;
    }
}

INLINE void warp(const float *restrict x, float *restrict y, const float *theta, int64_t images, int height, int width,
                 const int channels, int border) {
    between across, down;
    const int64_t row = (int64_t)width * channels;
    for (int64_t image = 0; image < images; image++, x += height * row, theta += 6) {
        for (int i = 0; i < height; i++) {
            /* theta maps coordinates in which a side is [-1, 1], and pixel j of n is at (2j + 1) / n - 1 */
            const float u = 1.0f / (float)width - 1.0f, v = (float)(2 * i + 1) / (float)height - 1.0f;
            const float start_x = ((theta[0] * u + theta[1] * v + theta[2] + 1.0f) * (float)width - 1.0f) * 0.5f;
            const float start_y = ((theta[3] * u + theta[4] * v + theta[5] + 1.0f) * (float)height - 1.0f) * 0.5f;
            const float step_x = theta[0], step_y = theta[3] * (float)height / (float)width;
            for (int done = 0; done < width; done += PIECE) {
                const int count = width - done < PIECE ? width - done : PIECE;
                find(&across, start_x + (float)done * step_x, step_x, width, border, count);
                find(&down, start_y + (float)done * step_y, step_y, height, border, count);
                for (int j = 0; j < count; j++, y += channels) {
                    const float *above = x + down.first[j] * row, *below = x + down.second[j] * row;
                    const int64_t first = across.first[j] * (int64_t)channels, second = across.second[j] * (int64_t)channels;
                    const float a = down.weight_of_first[j] * across.weight_of_first[j];
                    const float b = down.weight_of_first[j] * across.weight_of_second[j];
                    const float c = down.weight_of_second[j] * across.weight_of_first[j];
                    const float d = down.weight_of_second[j] * across.weight_of_second[j];
                    for (int k = 0; k < channels; k++)
                        y[k] = a * above[first + k] + b * above[second + k] + c * below[first + k] +
                               d * below[second + k];
                }
            }
        }
    }
}

/* `theta` is 2x3 numbers for each picture, from where a pixel goes to where it comes from. With `border` the edge is
   repeated outside, otherwise it is black there. `x` and `y` are N pictures of height x width x channels. */
FOR_THIS_PROCESSOR
void keensight_affine(const float *x, float *y, const float *theta, int64_t images, int height, int width, int channels,
                      int border) {
    if (channels == 1)
        warp(x, y, theta, images, height, width, 1, border);
    else if (channels == 3)
        warp(x, y, theta, images, height, width, 3, border);
    else
        warp(x, y, theta, images, height, width, channels, border);
}
