# The same photos with near-twins on both sides: what is forgotten looks like what stays (two red apples, oranges beside
# satsumas, two melons, two cartons of juice of one brand, limes beside lemons), and two of what is learned are tomatoes.
_base_ = ['./vit_dinov2-s_grocery_learn-forget.py']
swap = dict(
    classes=dict(
        learn=['Leek', 'Red-Bell-Pepper', 'Regular-Tomato', 'Vine-Tomato'],
        forget=['Pink-Lady', 'Orange', 'Cantaloupe', 'Bravo-Orange-Juice', 'Lime'],
    )
)
model = dict(host=dict(head=dict(num_classes=34)))
